"""The published figures: names are ours, and the numbers fit together."""

import json

import pytest

from vlprompt import methods
from vlprompt.data import catalog
from vlprompt.errors import OptionError
from vlprompt.report.published_figures import (
    AVERAGE,
    ELEVEN,
    FILE,
    PAPERS,
    catalog_name,
    figures,
    find,
    mean_figure,
    papers,
    stated_gains,
)

PROTOCOLS = ("few_shot", "base_to_new", "cross_dataset", "domain_generalization")
EVERY = [figure for protocol in PROTOCOLS for figure in figures(protocol)]
TARGETS = {entry.name for entry in catalog.ENTRIES} | {"source", AVERAGE}


def test_names_are_those_of_the_package():
    assert {f.method for f in EVERY} <= set(methods.names())
    assert {f.data for f in EVERY} <= TARGETS
    assert {f.paper for f in EVERY} <= set(PAPERS)
    assert {f.kind for f in EVERY} <= {"printed", "plot", "derived", "re-run"}
    transfer = [f for f in EVERY if f.protocol in PROTOCOLS[2:]]
    assert {key for f in transfer for key in f.values} <= TARGETS
    assert len(ELEVEN) == 11 and set(ELEVEN) < TARGETS


def test_every_figure_has_a_source_and_is_a_percentage():
    assert len(EVERY) > 300
    for figure in EVERY:
        assert figure.source and figure.sure and figure.backbone in ("ViT-B/16", "RN50")
        assert all(0 < value < 100 for value in figure.values.values()), figure


@pytest.mark.parametrize("method", ["zeroshot", "coop", "cocoop", "maple"])
def test_averages_are_means_of_the_data_sets_and_hm_is_that_of_the_averages(method):
    known = figures("base_to_new", "maple")
    rows = [find(known, method, name, 16).values for name in ELEVEN]
    whole = find(known, method, AVERAGE, 16).values
    for key in ("base", "new"):
        assert sum(row[key] for row in rows) / 11 == pytest.approx(whole[key], abs=0.011)
    for row in [*rows, whole]:
        assert 2 * row["base"] * row["new"] / (row["base"] + row["new"]) == pytest.approx(
            row["harmonic_mean"], abs=0.02
        )


def test_known_figures():
    assert find(figures("base_to_new", "maple"), "maple", "EuroSAT", 16).values == {
        "base": 94.07,
        "new": 73.23,
        "harmonic_mean": 82.35,
    }
    assert find(figures("cross_dataset", "maple"), "maple", "ImageNet", 16).values["average"] == 66.30
    assert (
        find(figures("domain_generalization", "maple"), "cocoop", "imagenet", 16).values["imagenet_a"]
        == 50.63
    )
    lamm = find(figures("few_shot", "lamm"), "coop+lamm", AVERAGE, 16)
    assert (lamm.values["accuracy"], lamm.kind) == (81.7, "plot")


def test_what_is_hidden_in_a_plot_is_left_out():
    assert find(figures("few_shot", "lamm"), "lamm", "eurosat", 1) is None
    assert find(figures("few_shot", "lamm"), "zeroshot", "eurosat", 4).values == {
        "accuracy": 47.8
    }  # at any shots


def test_ctp_tft_is_derived_and_its_gains_are_stated():
    own = find(figures("base_to_new", "ctp-tft"), "ctp+tft", AVERAGE, 16)
    assert own.kind == "derived" and "base" not in own.values
    reference = find(figures("base_to_new", "ctp-tft"), "cocoop", AVERAGE, 16)
    for gain in stated_gains("base_to_new"):
        assert own.values[gain.metric] - reference.values[gain.metric] == pytest.approx(gain.gain)


def test_other_shots_data_and_papers_have_no_figure():
    known = figures("base_to_new", "maple")
    assert find(known, "maple", "caltech101", 4) is None
    assert find(known, "maple", "my flowers", 16) is None
    assert figures("class_incremental", "lamm") == []
    assert "tip-adapter" in papers("few_shot")
    with pytest.raises(OptionError, match='did you mean "maple"'):
        figures("few_shot", "mapel")


def test_mean_of_some_data_sets():
    known = figures("base_to_new", "maple")
    two = mean_figure(known, "maple", ["caltech101", "DTD"], 16)
    a, b = (find(known, "maple", name, 16).values for name in ("caltech101", "dtd"))
    base, new = (a["base"] + b["base"]) / 2, (a["new"] + b["new"]) / 2
    assert two["harmonic_mean"] == pytest.approx(2 * base * new / (base + new))
    assert mean_figure(known, "maple", ["caltech101", "mine"], 16) == {}
    assert mean_figure(known, "maple", ELEVEN, 16)["harmonic_mean"] == 78.55


def test_variants_come_after_the_usual_settings():
    assert find(figures("base_to_new"), "vpt", AVERAGE, 16).variant == ""
    assert find(figures("base_to_new", "maple"), "ivlp", AVERAGE, 16).variant


def test_catalog_names():
    assert catalog_name("Flowers102") == "oxford_flowers"
    assert catalog_name("my flowers") == "my flowers"


def test_the_file_says_what_it_is():
    held = json.loads(FILE.read_text(encoding="utf-8"))
    assert set(held) == {"about", "tables", "gains"}
