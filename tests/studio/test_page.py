"""The page as Gradio is told of it, without a browser: what its events write to, and how they show that they run."""

from __future__ import annotations

import asyncio

import pytest

from vlprompt.studio.web_server import quieten

pytest.importorskip("gradio", reason="the studio needs Gradio")


@pytest.fixture
def config(studio):
    quieten(studio)
    from vlprompt.studio.page import build

    async def made():  # inside a loop, so that Gradio leaves none of its own open
        return build(studio).config

    return asyncio.run(made())


def number_of(config, elem_id: str) -> int:
    [found] = [part["id"] for part in config["components"] if part["props"].get("elem_id") == elem_id]
    return found


def test_what_is_kept_is_written_anew_whenever_the_classes_change(config):
    kept = number_of(config, "download")
    [event] = [event for event in config["dependencies"] if kept in event["outputs"]]
    states = [part["id"] for part in config["components"] if part["type"] == "state"]
    [(number, what)] = event["targets"]
    assert number in states and what == "change"


def test_nothing_is_drawn_over_the_name_of_a_class(config):
    name = number_of(config, "class-name")
    writing = [event for event in config["dependencies"] if name in event["outputs"]]
    assert len(writing) == 2 and all(event["show_progress"] == "hidden" for event in writing)
