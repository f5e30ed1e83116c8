"""Exported files: both formats, both kinds of pictures, what they say about themselves, and what goes wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import run_info, tiny_resnet
from test_export_contract import NAMES, backbone, run_of

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import ExportError, MissingExtra, OptionError
from vlprompt.runs.exporting import checking
from vlprompt.runs.exporting import export as exporting
from vlprompt.runs.exporting import file_formats as formats
from vlprompt.runs.exporting.checking import fed, in_torch, noise
from vlprompt.runs.exporting.export import export
from vlprompt.runs.run import Run
from vlprompt.scoring.calibration import CalibrationInfo

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.mark.parametrize("name", ["vpt", "cocoop", "ctp+tft", "tip_adapter"])
def test_programs_of_torch_export(name: str, tmp_path: Path) -> None:
    run = run_of(name)
    found = export(run, tmp_path / "model.pt2", pixels="float")
    assert (found.format, found.size) == ("torch", found.path.stat().st_size)
    module = torch.export.load(found.path).module()
    for batch in (1, 5):
        crops = noise(run, batch, seed=3)
        with torch.no_grad():
            got = module(torch.from_numpy(fed(crops, "float")))
        for mine, wanted in zip(got, in_torch(run, crops), strict=True):
            np.testing.assert_allclose(mine.numpy(), wanted, atol=1e-4, rtol=0)
    assert formats.about_torch(found.path) == found.about


@pytest.fixture(scope="module")
def calibrated() -> Run:
    run = run_of("coop+lamm")
    run.info.calibration = CalibrationInfo(2.5, applied=True)
    run.info.labels = [3, 1, 4, 5, 9]
    return run


@pytest.fixture(scope="module")
def file(calibrated: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(calibrated, tmp_path_factory.mktemp("onnx") / "model.onnx", pixels="float").path


def test_the_temperature_is_inside(calibrated: Run, file: Path) -> None:
    crops = noise(calibrated, 2)
    logits, probabilities = formats.open_onnx(file)(fed(crops, "float"))
    warm = in_torch(run_of("coop+lamm"), crops)[0]
    np.testing.assert_allclose(logits, warm / 2.5, atol=1e-4)
    np.testing.assert_allclose(probabilities, checking.softmax(warm / 2.5), atol=1e-4)


def test_an_onnx_file_says_what_it_is(calibrated: Run, file: Path) -> None:
    about = formats.about_onnx(file)
    assert about["class_names"] == list(NAMES) and about["labels"] == [3, 1, 4, 5, 9]
    assert (
        about["templates"] == ["a photo of a {}."]
        and about["method"] == "coop+lamm"
        and about["temperature"] == 2.5
    )
    assert about["backbone"]["fingerprint"] == backbone().fingerprint
    assert about["input"]["shape"] == ["batch", 3, 32, 32]
    assert (
        about["preprocessing"]["resize"] == "shortest"
        and about["preprocessing"]["interpolation"] == "bicubic"
    )


def test_other_classes_are_exported_as_shown(tmp_path: Path) -> None:
    found = export(run_of("coop").for_classes(["bus", "tree"]), tmp_path / "model.pt2")
    assert found.about["class_names"] == ["bus", "tree"] and "labels" not in found.about


def page_code() -> str:
    """The code of the page that uses a file."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return next(code for code in found if "onnxruntime" in code)


def pictures(folder: Path) -> list[Path]:
    """Pictures as phones and programs write them: turned by their notes, standing, grey, with a palette, transparent."""
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    lying = Image.fromarray(noise).resize((140, 100), Image.Resampling.BICUBIC)
    found = []
    for way in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = way
        lying.convert("RGB").save(folder / f"phone{way}.jpg", exif=exif, quality=95)
        found.append(folder / f"phone{way}.jpg")
    for name, picture in {
        "standing.png": lying.convert("RGB").transpose(Image.Transpose.ROTATE_90),
        "clear.png": lying,
        "grey.png": lying.convert("L"),
        "grey_clear.png": lying.convert("LA"),
        "palette.png": lying.convert("RGB").quantize(16),
        "cat.jpg": lying.convert("RGB"),
    }.items():
        picture.save(folder / name)
        found.append(folder / name)
    return found


def test_the_page_shows_how_to_use_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the documentation, without vlprompt, gets what the run says of the same pictures."""
    run = run_of("zeroshot")
    export(run, tmp_path / "model.onnx")
    found = pictures(tmp_path)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(page_code(), space)
    for path in found:
        given = space["session"].run(None, {"pictures": space["square"](path)[None]})[1]
        np.testing.assert_allclose(given, run.probabilities(str(path)), atol=1e-4, err_msg=path.name)
    turned = {path: run.probabilities(str(path)) for path in found if path.name.startswith("phone")}
    assert (
        np.ptp(np.stack(list(turned.values())), axis=0).max() > 1e-3
    )  # so that a missing turn would be seen


def test_a_file_that_differs_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"the old one")
    right = exporting.program_of
    monkeypatch.setattr(
        exporting, "program_of", lambda method, pixels, temperature: right(method, pixels, 1.01)
    )
    with pytest.raises(ExportError, match="nothing was written"):
        export(run_of("coop"), path, overwrite=True)
    assert path.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_there_is_replaced_only_when_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model.PT2"
    path.write_bytes(b"the old one")
    with pytest.raises(OptionError, match="is there already"):
        export(run_of("coop"), path)
    assert path.read_bytes() == b"the old one"
    assert export(run_of("coop"), path, overwrite=True).format == "torch"
    assert path.stat().st_size > 10_000 and list(tmp_path.iterdir()) == [path]


def test_a_method_that_cannot_be_traced_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of("linear_probe")
    plain = type(run.learned).compare

    def chooses(method: Any, seen: Any, features: Any) -> Any:
        if float(seen.features.sum()) > 1e9:
            raise AssertionError
        return plain(method, seen, features)

    monkeypatch.setattr(type(run.learned), "compare", chooses)
    with pytest.raises(ExportError, match="linear_probe") as caught:
        export(run, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "options"), [("ctp+tft", {"placement": "feature"}), ("coop", {"class_specific": True})]
)
def test_other_options(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    found = export(run_of(name, **options), tmp_path / "model.pt2")
    assert found.difference.logits <= 1e-4


@pytest.mark.parametrize("name", ["coop+lamm", "cocoop+lamm"])
def test_classes_that_came_later(name: str, tmp_path: Path) -> None:
    method = run_of(name).learned.extend(["bus", "tree"]).eval()
    found = export(
        Run(method, backbone(), run_info(method=name, class_names=list(method.task.class_names))),
        tmp_path / "model.pt2",
    )
    assert found.about["class_names"] == [*NAMES, "bus", "tree"] and found.difference.logits <= 1e-4


def test_a_resnet(tmp_path: Path) -> None:
    held = tiny_resnet()
    method = methods.load("coop+lamm").build(held, Task(NAMES, shots=2)).eval()
    assert (
        export(
            Run(method, held, run_info(method="coop+lamm", class_names=list(NAMES))), tmp_path / "model.onnx"
        ).difference.logits
        <= 1e-4
    )


def test_the_vocabulary_stays_outside(tmp_path: Path) -> None:
    """The text tower of CoCoOp is in the file, its table of token embeddings (the larger part) is not."""
    text = backbone().text
    table = 4 * text.token_embedding.weight.numel()
    towers = sum(4 * p.numel() for tower in (text, backbone().image) for p in tower.parameters()) - table
    for name in ("model.onnx", "model.pt2"):
        assert export(run_of("cocoop"), tmp_path / name).size < towers + 1_500_000 < table


def test_weights_too_large_for_one_file_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "LARGE", 1000)
    run = run_of("coop")
    found = export(run, tmp_path / "model.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert found.size == sum(p.stat().st_size for p in tmp_path.iterdir())
    assert formats.open_onnx(found.path)(noise(run, 2))[1].shape == (2, len(NAMES))


def test_misuse_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("zeroshot")
    with pytest.raises(OptionError, match="is a folder"):
        export(run, tmp_path)
    for name in ("model.bin", "model.tflite", "model"):
        with pytest.raises(OptionError, match=r"what can be written are \.onnx and \.pt2"):
            export(run, tmp_path / name)
    with pytest.raises(OptionError, match=r'format torch ends in "\.pt2"'):
        export(run, tmp_path / "model.onnx", format="torch")
    with pytest.raises(OptionError, match="format is 'tflite'"):
        export(run, tmp_path / "model.onnx", format="tflite")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"vlprompt\[onnx\]"):
        export(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
