"""A report of classes with hostile names, opened in Chromium: nothing in them runs, and nothing is fetched."""

from __future__ import annotations

import shutil

import fault_jobs
import pytest
from fault_jobs import TRAIN, backbone

from vlprompt.data.opening import open_dataset
from vlprompt.fitting.learning import fit
from vlprompt.report.run_report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
NAMES = (
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 2'>",
    "</script></style></svg><svg onload='window.hit = 3'>",
    '" onmouseover="window.hit = 4" x=\'',
)


def test_nothing_in_names_runs(pictures, tmp_path):
    classes = dict(zip(sorted(path.name for path in (pictures / "train").iterdir()), NAMES, strict=True))
    dataset = open_dataset(pictures, classes=classes)
    assert set(dataset.class_names) == set(NAMES)
    fit(dataset, "coop", backbone=backbone(), out=tmp_path / "run", shots=3, train=TRAIN, cache=False)
    page = write_report(tmp_path / "run", backbone=fault_jobs.backbone(), data=dataset)
    said: list[str] = []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page()
        opened.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        opened.on("request", lambda request: said.append(request.url))
        opened.goto(f"file://{page}")
        opened.mouse.move(300, 300)
        for place in opened.locator("svg, td, th, h2").all()[:200]:
            place.dispatch_event("mouseover")
        assert opened.evaluate("window.hit") is None
        assert NAMES[0] in opened.inner_text("body")  # as the words that they are
        browser.close()
    assert [url for url in said if not url.startswith(("file://", "data:", "blob:"))] == []
    assert len([url for url in said if url.startswith("file://")]) == 1
