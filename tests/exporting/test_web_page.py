"""The page for browsers, in a browser: its pixels are Pillow's, its answers are the run's, and it asks nobody for anything."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_export_contract import run_of
from test_export_files import pictures

from vlprompt.data.pictures import open_picture
from vlprompt.errors import OptionError
from vlprompt.runs.exporting.web_page import CODE, PROGRAM, export_page, html_of, runtime_files

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync".split()
RUNTIME = os.environ.get("VLPROMPT_ONNXRUNTIME_WEB", "")
# stands for onnxruntime-web where that is not at hand: the "probabilities" say only that the square has arrived
STUB = """
export const env = {wasm: {}};
export class Tensor { constructor(type, data, dims) { Object.assign(this, {type, data, dims}); } }
export const InferenceSession = {
  create: async (model) => ({
    run: async ({pictures}) => {
      const mean = pictures.data.reduce((a, b) => a + b, 0) / pictures.data.length / 255;
      return {probabilities: {data: Float32Array.from([mean, 1 - mean, 0])}};
    },
  }),
};
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtime") / "dist"
    folder.mkdir()
    (folder / CODE).write_text(STUB)
    (folder / PROGRAM).write_bytes(b"\0asm")
    (folder.parent / "package.json").write_text('{"version": "9.8.7"}')
    return folder.parent


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Any]:
    """A browser's tab, offline; what it asks for and what goes wrong in it is kept in `tab.asked` and `tab.wrong`."""
    driver_of = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
    with driver_of.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            context = browser.new_context(offline=True)
            page = context.new_page()
            page.set_default_timeout(120_000)
            page.asked, page.wrong = [], []
            page.on("request", lambda request: page.asked.append(request.url))
            page.on("pageerror", lambda error: page.wrong.append(str(error)))
            yield page
        finally:
            browser.close()


def opened(tab: Any, index: Path) -> None:
    tab.goto(index.resolve().as_uri())
    tab.wait_for_function("document.getElementById('told').textContent !== 'loading the model ...'")
    assert tab.inner_text("#told") == "ready"


def given(tab: Any, path: Path) -> list[float]:
    """The probabilities after choosing a file."""
    tab.set_input_files("#file", str(path))
    tab.wait_for_function("name => document.querySelector('#shown img')?.alt === name", arg=path.name)
    return tab.evaluate("async () => (await vlprompt.model)(document.getElementById('file').files[0])")


@pytest.mark.slow
def test_the_folder_and_what_is_refused(stub: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = run_of("zeroshot")
    assert runtime_files(stub)[2] == runtime_files(stub / "dist")[2] == "9.8.7"
    with pytest.raises(OptionError, match="npm install onnxruntime-web"):
        export_page(run, tmp_path / "page", tmp_path)
    found = export_page(run, tmp_path / "page", stub)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page"]
    assert sorted(p.name for p in (tmp_path / "page").iterdir()) == [
        "ABOUT.txt",
        "index.html",
        "model.js",
        "runtime.js",
    ]
    assert "onnxruntime-web 9.8.7" in (tmp_path / "page" / "ABOUT.txt").read_text()
    assert found.size == sum(p.stat().st_size for p in (tmp_path / "page").iterdir())
    with pytest.raises(OptionError, match="holds a page already"):
        export_page(run, tmp_path / "page", stub)
    export_page(run, tmp_path / "page", stub, overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    with pytest.raises(OptionError, match="holds something else"):
        export_page(run, tmp_path / "photos", stub, overwrite=True)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"mine"


def test_names_cannot_leave_their_place() -> None:
    run = run_of("zeroshot").for_classes(["</script><b>", "a & $b"])
    text = html_of(run, {"class_names": list(run.class_names), "preprocessing": {}, "method": "zeroshot"})
    assert "</script><b>" not in text and "&lt;/script&gt;&lt;b&gt;" in text
    inside = text.split('id="about">', 1)[1].split("</script>", 1)[0]
    assert json.loads(inside)["class_names"] == ["</script><b>", "a & $b"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
def test_the_square_is_that_of_pillow(stub: Path, tab: Any, tmp_path: Path) -> None:
    """Bit for bit, wherever browser and Pillow decode the same; pictures as phones write them, and odd sizes."""
    pytest.importorskip("onnxruntime")
    run = run_of("zeroshot")
    page = export_page(run, tmp_path / "page", stub)
    opened(tab, page.path)
    noise = np.random.default_rng(3)
    found = pictures(tmp_path)
    for width, height in ((201, 40), (33, 160), (8, 9), (31, 31)):
        path = tmp_path / f"{width}x{height}.png"
        Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        found.append(path)
    for path in found:
        given(tab, path)
        held = tab.evaluate(
            "async () => Array.from(await vlprompt.square(document.getElementById('file').files[0]))"
        )
        expected = np.asarray(run.backbone.preprocessing.crop(open_picture(path)))
        difference = np.abs(np.array(held).reshape(expected.shape) - expected.astype(int))
        # decoders of JPEG may round otherwise, and so may two ways to lay a transparent picture on white
        allowed = 3 if path.suffix == ".jpg" or "clear" in path.name else 0
        assert difference.max() <= allowed, (path.name, difference.max())
    assert tab.wrong == [] and all(url.startswith(("file:", "data:", "blob:")) for url in tab.asked)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
def test_a_dropped_file_that_is_no_picture_is_said(stub: Path, tab: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    page = export_page(run_of("zeroshot"), tmp_path / "page", stub)
    opened(tab, page.path)
    (tmp_path / "a.jpg").write_text("no picture")
    tab.set_input_files("#file", str(tmp_path / "a.jpg"))
    tab.wait_for_function("document.getElementById('told').textContent.includes('cannot be read')")
    assert tab.locator("#answers li").count() == 0


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
@pytest.mark.skipif(not RUNTIME, reason="VLPROMPT_ONNXRUNTIME_WEB names no folder of onnxruntime-web")
@pytest.mark.parametrize("method", ["zeroshot", "maple+lamm", "linear_probe", "cocoop"])
def test_the_answers_are_those_of_the_run(method: str, tab: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = run_of(method)
    page = export_page(run, tmp_path / "page", RUNTIME)
    opened(tab, page.path)
    for path in pictures(tmp_path):
        said = given(tab, path)
        expected = run.probabilities(str(path))[0]
        close = 5e-3 if path.suffix == ".jpg" or "clear" in path.name else 1e-4
        np.testing.assert_allclose(said, expected, atol=close, err_msg=path.name)
    first = tab.inner_text("#answers li:first-child span:first-child")
    assert first == run.class_names[int(np.argmax(expected))]
    assert tab.wrong == [] and all(url.startswith(("file:", "data:", "blob:")) for url in tab.asked)
