"""Tables over data sets: averages as in the papers, published figures where they belong, and the forms."""

import csv
import io

import pytest
from seed_records import base_new, record

from vlprompt.errors import OptionError
from vlprompt.report.comparison import compare, same_backbone
from vlprompt.report.published_figures import ELEVEN
from vlprompt.report.sheet_formats import formatted, rich_table, table_of


def lines_of(records, paper=None):
    (sheet,) = compare(records, paper)
    return {(line.data, line.shots, line.method): line for line in sheet.lines}, sheet


TWO = [
    base_new(80.0, 40.0, seed=1, data="caltech101"),
    base_new(90.0, 50.0, seed=2, data="caltech101"),
    base_new(60.0, 90.0, seed=1, data="mine"),
    base_new(70.0, 80.0, seed=2, data="mine"),
]


def test_harmonic_mean_is_that_of_the_averages():
    lines, _ = lines_of(TWO)
    average = lines["average of 2", 16, "coop"].values
    assert (average["base"].mean, average["new"].mean) == (75.0, 65.0)
    assert average["harmonic_mean"].mean == pytest.approx(2 * 75 * 65 / 140)
    separate = [lines[name, 16, "coop"].values["harmonic_mean"].mean for name in ("caltech101", "mine")]
    assert average["harmonic_mean"].mean != pytest.approx(sum(separate) / 2)
    assert separate[0] == pytest.approx(2 * 85 * 45 / 130)  # of the mean over seeds, as the papers print it


def test_deviation_of_the_average_is_that_of_the_seeds_averages():
    lines, _ = lines_of(TWO)
    base = lines["average of 2", 16, "coop"].values["base"]  # 70 and 80
    assert (base.std, base.n) == (pytest.approx(50**0.5), 2)


def test_zero_shot_stands_first_and_without_deviation():
    _, sheet = lines_of(TWO)
    assert [line.method for line in sheet.lines[:2]] == ["zero-shot", "coop"]
    assert sheet.lines[0].values["base"].text() == "60.00"


def test_a_method_that_lacks_a_data_set_has_no_average():
    lines, sheet = lines_of([*TWO, base_new(1.0, 1.0, "maple", data="mine")])
    assert ("average of 2", 16, "maple") not in lines
    assert any("maple" in note and "caltech101" in note for note in sheet.notes)


def test_a_missing_average_is_told_once_for_all_shots():
    records = [
        record(method=method, data=data, shots=shots, accuracy=1.0, zero_shot=2.0)
        for method, data in (("coop", "dtd"), ("coop", "mine"), ("maple", "mine"))
        for shots in (1, 4)
    ]
    assert lines_of(records)[1].notes[-2] == "maple at 1, 4 shots has no average: not run on dtd"
    assert "maple at 1 shot has" in lines_of(records[::2])[1].notes[-2]


def test_order_of_methods_and_data():
    records = [
        record(method=name, data=data, accuracy=1.0, zero_shot=2.0)
        for data in ("mine", "dtd", "caltech101")
        for name in ("mine.own", "maple", "linear_probe", "coop+lamm", "coop")
    ]
    _, sheet = lines_of(records)
    assert [line.method for line in sheet.lines[:6]] == [
        "zero-shot",
        "linear_probe",
        "coop",
        "maple",
        "coop+lamm",
        "mine.own",
    ]
    assert list(dict.fromkeys(line.data for line in sheet.lines)) == [
        "caltech101",
        "dtd",
        "mine",
        "average of 3",
    ]


def test_published_only_for_the_same_protocol_data_and_shots():
    records = [
        *TWO,
        base_new(90.0, 50.0, seed=1, data="caltech101", shots=4),
        base_new(1, 1, "proda", data="caltech101"),
    ]
    lines, sheet = lines_of(records, "maple")
    coop = lines["caltech101", 16, "coop"]
    assert coop.published == {"base": 98.0, "new": 89.81, "harmonic_mean": 93.73}
    assert coop.difference("base") == pytest.approx(85 - 98.0)
    assert lines["caltech101", 16, "zero-shot"].published["base"] == 96.84
    for other in (
        ("mine", 16, "coop"),
        ("caltech101", 4, "coop"),
        ("caltech101", 16, "proda"),
        ("average of 2", 16, "coop"),
    ):
        if other in lines:
            assert not lines[other].published, other
    assert any("not comparable" in note and "tiny" in note for note in sheet.notes)
    assert any("own splits" in note for note in sheet.notes)


def test_on_another_split_no_difference_is_taken():
    kinds = {"caltech101": "papers", "dtd": "drawn", "eurosat": None}
    records = [
        base_new(80.0, 70.0, data=name) | ({"split": kind} if kind else {}) for name, kind in kinds.items()
    ]
    lines, sheet = lines_of(records, "maple")
    assert lines["caltech101", 16, "coop"].difference("base") == pytest.approx(80 - 98.0)
    assert lines["eurosat", 16, "coop"].difference("base") is not None  # not said: as before, with a note
    for method in ("coop", "zero-shot"):
        assert lines["dtd", 16, method].published and lines["dtd", 16, method].difference("base") is None
    assert lines["average of 3", 16, "coop"].other_split
    assert any("†" in note and "drawn at random" in note for note in sheet.notes)
    assert any("do not say which split" in note for note in sheet.notes)
    text = formatted([sheet], "md")
    assert "79.44 †" in text and "98.00 (-18.00)" in text
    rows = {
        row["data"]: row
        for row in csv.DictReader(io.StringIO(formatted([sheet], "csv")))
        if row["method"] == "coop"
    }
    assert (rows["dtd"]["base_published"], rows["dtd"]["base_difference"]) == ("79.44", "")
    assert "79.44 $^\\dagger$" in formatted([sheet], "latex")


def test_the_split_of_a_target_counts_too():
    values = dict.fromkeys(("source", "caltech101", "dtd", "eurosat", "average"), 50.0)
    more = {"split": "papers", "target_splits": {"caltech101": "papers", "dtd": "given", "eurosat": "papers"}}
    (sheet,) = compare(
        [record("cross_dataset", "maple", data="imagenet", zero_shot=values, **values, **more)], "maple"
    )
    assert [row.words[-1] for row in table_of(sheet)[2]] == ["zero-shot", "maple", "– published †"]


def test_published_average_needs_the_same_data_sets():
    two = [base_new(80.0, 70.0, data=name) for name in ("caltech101", "dtd")]
    lines, _ = lines_of(two, "maple")
    published = lines["average of 2", 16, "coop"].published
    assert published["base"] == pytest.approx((98.00 + 79.44) / 2)
    assert published["harmonic_mean"] == pytest.approx(
        2 * published["base"] * published["new"] / (published["base"] + published["new"])
    )
    every = [base_new(80.0, 70.0, "ctp+tft", data=name) for name in ELEVEN]
    lines, sheet = lines_of(every, "ctp-tft")
    assert lines["average of 11", 16, "ctp+tft"].published == {"new": 75.72, "harmonic_mean": 79.02}
    assert any("our reading of the abstract" in note for note in sheet.notes)
    assert not lines_of(every[:5], "ctp-tft")[0]["average of 5", 16, "ctp+tft"].published


def test_ctp_tft_is_labelled_without_a_paper_too():
    _, sheet = lines_of([base_new(1.0, 2.0, "ctp+tft+lamm")])
    assert "our reading of the abstract" in sheet.notes[0]


def test_papers_without_such_figures_say_so():
    _, sheet = lines_of([record(accuracy=1.0)], "maple")
    assert "lamm" in sheet.notes[0]
    assert "no published figure beside these" in lines_of([record(accuracy=1.0)], "lamm")[1].notes[0]
    with pytest.raises(OptionError, match="no paper"):
        compare(TWO, "mapel")


@pytest.mark.parametrize(
    ("targets", "average"), [(("Food101", "dtd"), (86.20 + 46.49) / 2), (("Food101", "mine"), None)]
)
def test_transfer_by_target(targets, average):
    values = {"source": 70.0, "average": 50.0} | dict.fromkeys(targets, 50.0)
    lines, _ = lines_of(
        [record("cross_dataset", "maple", data="imagenet", zero_shot=values, **values)], "maple"
    )
    published = lines["imagenet", 16, "maple"].published
    assert (published["source"], published["Food101"]) == (70.72, 86.20)
    assert published.get("average") == (None if average is None else pytest.approx(average))


def test_transfer_to_all_targets_takes_the_printed_average():
    values = dict.fromkeys(
        ("source", "imagenetv2", "imagenet-sketch", "ImageNet-A", "imagenet_r", "average"), 60.0
    )
    lines, _ = lines_of(
        [record("domain_generalization", "coop", data="imagenet", zero_shot=values, **values)], "maple"
    )
    assert lines["imagenet", 16, "coop"].published["average"] == 59.28
    assert lines["imagenet", 16, "zero-shot"].published["ImageNet-A"] == 47.77


def test_few_shot_has_a_column_for_every_number_of_shots():
    records = [
        record(data="dtd", shots=k, accuracy=40.0 + k, macro_f1=1.0, zero_shot=30.0) for k in (16, 1, 4)
    ]
    (sheet,) = compare(records, "lamm")
    header, words, rows = table_of(sheet)
    columns = [name for name in header if name != "published"]
    assert columns == ["method", "seeds", "1 shot", "4 shots", "16 shots"]
    assert words == 1
    assert [row.words[0] for row in rows] == ["zero-shot", "coop"]
    text = formatted([sheet], "md")
    assert "| **41.00** |" in text and "≈ 44.50 (-14.50)" in text


def test_many_values_have_published_figures_in_lines_below():
    values = dict.fromkeys(("source", "caltech101", "dtd", "eurosat", "average"), 50.0)
    (sheet,) = compare(
        [record("cross_dataset", "maple", data="imagenet", zero_shot=values, **values)], "maple"
    )
    _, _, rows = table_of(sheet)
    assert [row.words[-1] for row in rows] == ["zero-shot", "maple", "– published", "– difference"]
    assert rows[2].numbers[2] == "93.53"
    assert rows[3].numbers[2] == "-43.53"


def test_sessions():
    values = {
        "session_1": 90.0,
        "session_2": 70.0,
        "average": 80.0,
        "final": 70.0,
        "forgetting": 12.0,
        "backward_transfer": -12.0,
        "own_forgetting": 0.0,
        "text_change": 0.0,
    }
    records = [
        record("class_incremental", name, matrix=[[1]], classes=[["a"]], zero_shot=values, **values)
        | {"forgetting": lost}
        for name, lost in (("coop", 20.0), ("coop+lamm", 5.0))
    ]
    (sheet,) = compare(records)
    header, _, rows = table_of(sheet)
    assert header[2:] == [
        "after 1",
        "after 2",
        "average",
        "final",
        "forgetting",
        "backward transfer",
        "own forgetting",
        "text change",
        "training s",
    ]
    assert rows[2].numbers[header.index("text change") - 1] == "0"
    assert rows[2].best[header.index("forgetting") - 1] and not rows[1].best[header.index("forgetting") - 1]


def test_forms():
    sheets = compare(TWO, "maple")
    rows = list(csv.DictReader(io.StringIO(formatted(sheets, "csv"))))
    assert (rows[1]["base_mean"], rows[1]["base_published"], rows[1]["base_difference"]) == (
        "85",
        "98",
        "-13",
    )
    latex = formatted(sheets, "latex")
    assert r"coop & 2 & $\mathbf{85.00} \pm 7.07$ & 98.00 (-13.00)" in latex
    assert latex.count(r"\midrule") == 3
    assert "98.00 (-13.00)" in formatted(sheets, "md")
    assert rich_table(sheets[0]).row_count == 6
    with pytest.raises(OptionError, match='did you mean "latex"'):
        formatted(sheets, "latexx")


def test_backbones_by_their_usual_names():
    assert same_backbone("ViT-B/16", "ViT-B/16")
    assert same_backbone("openai/clip-vit-base-patch16", "ViT-B/16")
    assert same_backbone("/weights/ViT-B-16.pt", "ViT-B/16")
    for other in ("embedded", "ViT-B/32", "laion/CLIP-ViT-B-16", "RN50"):
        assert not same_backbone(other, "ViT-B/16")
