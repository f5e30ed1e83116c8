"""What is needed before work goes to a cluster."""

from __future__ import annotations

import builtins
import sys

import pytest

from vlprompt.errors import MissingExtra
from vlprompt.ray_cluster import absolute, connect


def test_paths_that_exist_hold_elsewhere_and_names_stay_names(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute("photos") == str(tmp_path / "photos")
    assert absolute("ViT-B/32") == "ViT-B/32"
    assert [absolute(value) for value in (None, "", 3, False)] == [None, "", 3, False]


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    found = builtins.__import__

    def none_of_it(name, *more):
        if name == "ray":
            raise ImportError(name)
        return found(name, *more)

    monkeypatch.setattr(builtins, "__import__", none_of_it)
    with pytest.raises(MissingExtra, match=r"vlprompt\[ray\]"):
        connect("auto")
