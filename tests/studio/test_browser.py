"""The studio as a person uses it: a real Chromium makes classes, learns, asks, adds, downloads and opens again.

Screenshots go to the folder that VLPROMPT_SCREENSHOTS names, or to the test's own.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import until

from vlprompt.data.opening import open_dataset

pytest.importorskip("gradio", reason="the studio needs Gradio")
sync_api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PATIENCE = 120_000  # milliseconds for one thing to appear; a busy machine is slow


@dataclass(frozen=True)
class Served:
    address: str
    token: str
    temporary: Path
    photos: Path  # the folder that it may read
    process: subprocess.Popen[str]

    @property
    def door(self) -> str:
        return f"{self.address}/?token={self.token}"

    @property
    def sessions(self) -> list[Path]:
        return sorted(self.temporary.glob("vlprompt-studio-*/sessions/*"))


@contextmanager
def serving(tmp_path: Path) -> Iterator[Served]:
    """`vlprompt studio`, a process of its own."""
    temporary = Path(tempfile.mkdtemp(dir=tmp_path))
    photos = tmp_path / "photos"
    photos.mkdir(exist_ok=True)
    said = tmp_path / "said.txt"
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    words = ["--port", "0", "--no-open", "--allow-folder", str(photos), "--runs", str(tmp_path / "runs")]
    with said.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "vlprompt", "studio", *words],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        try:
            found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)", process.stdout.readline())
            assert found, said.read_text()
            yield Served(found[1], found[2], temporary, photos, process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as found:
        yield found


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, list[Path]]:
    """Emoji of three classes as files."""
    found: dict[str, list[Path]] = {}
    with open_dataset("emoji:google") as dataset:
        for name in ("fruit", "flower", "bird"):
            items = [item for item in dataset.items("train") if dataset.class_names[item.label] == name][:6]
            found[name] = []
            for i, item in enumerate(items):
                path = tmp_path / f"{name}-{i}.webp"
                path.write_bytes(dataset.read(item))
                found[name].append(path)
    return found


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("VLPROMPT_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Person:
    """What a person does at a page."""

    def __init__(self, page, shots: Path) -> None:
        self.page, self.shots = page, shots
        self.log: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.log.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    def see(self, text: str, inside: str = "body"):
        found = self.page.locator(inside).get_by_text(text, exact=False).locator("visible=true").first
        try:
            found.wait_for()
        except sync_api.TimeoutError:
            self.shoot("not-seen")
            raise
        return found

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def card(self, name: str):
        return self.page.locator(".class-card", has_text=name)

    def drop(self, name: str, files: list[Path]) -> None:
        self.card(name).locator("input[type=file]").set_input_files([str(file) for file in files])
        self.card(name).get_by_text(f"{len(files)} pictures").wait_for()

    def make(self, name: str) -> None:
        self.page.locator("#class-name").locator("input, textarea").fill(name)
        self.press("Add class")
        self.card(name).wait_for()

    def ask(self, file: Path) -> str:
        """What is said about a picture, with all its figures."""
        self.page.locator("#try-drop input[type=file]").set_input_files(str(file))
        self.see(file.name, "#answers")
        return str(self.page.locator("#answers").inner_text())

    def choose(self, method: str, rounds: int) -> None:
        """A method in place of the one that compares some, which has no form."""
        assert self.page.locator("#option-epochs").count() == 0
        self.page.locator("#method input").click()
        self.page.get_by_role("option", name=f"{method} · ").first.click()
        field = self.page.locator("#option-epochs input[type=number]")
        field.fill(str(rounds))
        field.press("Tab")

    def shoot(self, name: str) -> None:
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=str(self.shots / f"{name}.png"))


def test_from_first_picture_to_a_run_that_opens_again(served, pictures, shots, tmp_path):
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        me = Person(browser.new_page(viewport={"width": 1280, "height": 900}), shots)
        me.page.goto(served.door)
        me.see("Start here.")
        me.shoot("1-start")

        me.make("fruit")
        field = me.page.locator("#class-name").locator("input, textarea")
        field.fill("Fruit")
        me.press("Add class")
        me.see('There is a class "Fruit" already')
        field.click(timeout=5000)  # nothing lies over it
        me.page.get_by_test_id("toast-close").click()
        me.make("flower")
        for name in ("fruit", "flower"):
            me.drop(name, pictures[name])
        not_one = tmp_path / "virus.png"
        not_one.write_bytes(b"no picture at all")
        me.card("fruit").locator("input[type=file]").set_input_files(str(not_one))
        me.see("not a picture that Pillow can read", "#remarks")
        me.card("fruit").get_by_text("6 pictures").wait_for()
        closed_to_others(served)

        me.choose("coop+lamm", rounds=8)  # which can learn further classes alone
        me.press("Learn")
        me.see("after learning", "#outcome")
        me.see("names alone", "#outcome")
        me.page.locator("#curve svg").wait_for()
        me.card("flower").get_by_text("learned").wait_for()
        me.shoot("2-learned")

        me.tab("3 · Try it")
        me.page.locator("#try-drop input[type=file]").set_input_files(
            [str(pictures["fruit"][0]), str(pictures["flower"][1])]
        )
        me.see("after learning", "#answers")
        heads = me.page.locator("#answers .answer p b")
        assert heads.count() == 2 and set(heads.all_inner_texts()) <= {"fruit", "flower"}
        assert (
            me.page.locator("#answers .bar.taught").count()
            == me.page.locator("#answers .bar.alone").count()
            == 4
        )
        me.page.locator("#extra-name").locator("input, textarea").fill("bird")
        me.press("Add class by name")
        me.card("bird").get_by_text("known by its name alone").wait_for()
        me.see("bird", "#answers")
        me.shoot("3-tried")
        for picture in pictures["flower"][2:5]:  # one after another, as soon as the last is answered
            me.ask(picture)

        me.drop("bird", pictures["bird"])
        me.tab("2 · Learn")
        me.press("Learn new ones only")
        me.card("bird").get_by_text("learned").wait_for()
        me.tab("3 · Try it")
        said = me.ask(pictures["bird"][2])
        me.tab("How good is it?")
        me.press("Check it")
        me.see("What is taken for what", "#checked")
        me.shoot("4-checked")

        me.tab("Keep it")
        me.shoot("5-keep")
        with me.page.expect_download() as download:
            me.page.get_by_role("link", name="Download what was learned").click()
        run = tmp_path / download.value.suggested_filename
        download.value.save_as(run)
        with zipfile.ZipFile(run) as archive:
            assert sorted(archive.namelist()) == [
                f"run/{name}" for name in ("README.md", "log.jsonl", "prompts.safetensors", "run.json")
            ]
        [mine] = served.sessions
        me.page.close()
        until(lambda: not mine.exists())

        you = Person(browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark"), shots)
        you.page.goto(served.door)
        you.see("Start here.")
        you.tab("Keep it")
        you.page.locator("#reopen input[type=file]").set_input_files(str(run))
        for name in ("fruit", "flower", "bird"):
            you.card(name).get_by_text("learned earlier").wait_for()
        you.tab("3 · Try it")
        assert you.ask(pictures["bird"][2]) == said
        you.shoot("6-opened-again")
        browser.close()

    for person in (me, you):
        assert len(person.log) > 20
        elsewhere = [
            url for url in person.log if not url.startswith((f"{served.address}/", "data:", "blob:"))
        ]
        assert elsewhere == []
        assert person.complaints == []
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) == 128 + signal.SIGTERM
    left = [path.name for path in served.temporary.iterdir()]
    assert [name for name in left if not name.startswith("torchinductor_")] == []  # torch's, and empty


def test_what_is_wrong_is_corrected_and_what_was_learned_opens_after_a_restart(pictures, shots, tmp_path):
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    asked = []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *fake])
        with serving(tmp_path) as served:
            view = browser.new_context(viewport={"width": 1400, "height": 1000}, permissions=["camera"])
            me = Person(view.new_page(), shots)
            me.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
            me.page.goto(served.door)
            me.see("Start here.")
            box = me.page.locator(".gradio-container").bounding_box()
            assert abs(box["x"] - (1400 - box["width"]) / 2) < 10  # in the middle
            me.page.get_by_role("textbox", name="Name of a new class").fill("fruit")
            me.press("Add class")
            me.drop("fruit", pictures["fruit"])
            me.page.get_by_role("textbox", name="Name of a new class").fill("flowr")
            me.press("Add class")
            me.drop("flowr", [*pictures["flower"], pictures["bird"][0], pictures["bird"][1]])
            me.press("Correct the pictures or the name of flowr")
            me.page.get_by_role("checkbox", name="Choose picture 7 of flowr").wait_for()
            me.shoot("9-correct")
            me.page.get_by_role("checkbox", name="Choose picture 7 of flowr").check()
            me.press("Remove ticked")
            me.card("flowr").get_by_text("7 pictures").wait_for()
            me.page.get_by_role("textbox", name="Name of flowr").fill("flower")
            me.press("Rename")
            me.card("flower").wait_for()
            me.page.get_by_role("checkbox", name="Choose picture 7 of flower").check()
            me.page.get_by_role("combobox", name="Ticked ones belong to").click()
            me.page.get_by_role("option", name="fruit").click()
            me.press("Move ticked")
            me.card("fruit").get_by_text("7 pictures").wait_for()
            me.page.locator("#camera-classes button").first.click()
            me.page.get_by_role("combobox", name="The next pictures are of").click()
            me.page.get_by_role("option", name="flower").click()
            me.press("Click to Access Webcam")
            # before its first frame there is nothing to take a picture of
            me.page.wait_for_function("document.querySelector('#camera video')?.videoWidth > 0")
            me.page.get_by_role("button", name="capture photo").click()
            me.card("flower").get_by_text("7 pictures").wait_for()
            me.shoot("10-corrected")

            me.press("Learn")
            me.see("after learning", "#outcome")
            me.tab("How good is it?")
            me.press("Check it")
            me.see("What is taken for what", "#checked")
            me.press("Remove the class fruit")  # what was checked was of other classes
            me.page.locator("#checked").get_by_text("What is taken for what").wait_for(state="detached")
            me.tab("Keep it")
            me.press("Keep it here")
            me.see("Kept in", "#kept")
            me.page.evaluate("location.reload()")
            until(lambda: asked == ["beforeunload"])
            assert me.card("flower").is_visible()
            me.make("tree")  # who chooses to stay goes on
            me.card("flower").get_by_text("7 pictures").wait_for()
            # the camera's picture is taken while the page still loads it to show it
            assert [text for text in me.complaints if "CONTENT_LENGTH_MISMATCH" not in text] == []
            me.page.close()
        with serving(tmp_path) as served:
            you = Person(
                browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark"), shots
            )
            you.page.goto(served.door)
            you.see("Start here.")
            you.tab("Keep it")
            you.page.get_by_role("combobox", name="Runs on this computer").click()
            you.page.get_by_role("option", name="studio-").click()
            you.press("Open it")
            you.card("flower").get_by_text("learned earlier").wait_for()
            you.shoot("11-after-a-restart")
        browser.close()


def test_a_folder_and_an_archive_bring_their_classes(served, pictures, shots, tmp_path):
    for name in ("fruit", "flower"):
        (served.photos / "plants" / name).mkdir(parents=True)
        for file in pictures[name]:
            shutil.copy(file, served.photos / "plants" / name)
    (tmp_path / "elsewhere" / "secret").mkdir(parents=True)
    shutil.copy(pictures["bird"][0], tmp_path / "elsewhere" / "secret")
    with zipfile.ZipFile(tmp_path / "animals.zip", "w") as archive:
        for file in pictures["bird"]:
            archive.write(file, f"bird/{file.name}")
        archive.writestr("bird/broken.png", b"no picture at all")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        me = Person(browser.new_page(viewport={"width": 1280, "height": 900}), shots)
        me.page.goto(served.door)
        me.see("Start here.")
        folder = me.page.locator("#folder").locator("input, textarea")
        folder.fill(str(tmp_path / "elsewhere"))
        me.press("Read folder")
        me.see(f"only folders below {served.photos} may be read")
        folder.fill(str(served.photos / "plants"))
        me.press("Read folder")
        for name in ("fruit", "flower"):
            me.card(name).get_by_text("6 pictures").wait_for()
        with me.page.expect_file_chooser() as chooser:
            me.press("Open a zip of folders")
        chooser.value.set_files(str(tmp_path / "animals.zip"))
        me.card("bird").get_by_text("6 pictures").wait_for()
        me.see("broken.png", "#remarks")
        assert me.page.locator(".class-card").count() == 3
        me.shoot("7-brought")
        me.page.set_viewport_size({"width": 390, "height": 844})  # a telephone: every step is in sight
        for name in ("3 · Try it", "How good is it?", "Keep it", "2 · Learn"):
            assert me.page.get_by_role("tab", name=name).is_visible()
        assert me.page.evaluate("document.documentElement.scrollWidth") <= 390
        me.shoot("8-narrow")
        browser.close()
    assert me.complaints == []


def test_a_closed_tab_stops_its_training_and_another_waits_for_it(served, shots):
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        first, second = (
            Person(browser.new_page(viewport={"width": 1280, "height": 900}), shots) for _ in range(2)
        )
        for person in (first, second):
            person.page.goto(served.door)
            person.see("Start here.")
            person.press("Load example pictures")
            person.card("tomato").wait_for()
        first.choose("cocoop", rounds=200)  # a slow one
        first.press("Learn")
        first.see("Learning: round", "#state")
        second.choose("coop+lamm", rounds=1)
        second.press("Learn")
        second.see("Waiting: 1 other training", "#state")
        assert len(served.sessions) == 2
        first.page.close()
        second.see("after learning", "#outcome")
        until(lambda: len(served.sessions) == 1)
        browser.close()
    until(lambda: not served.sessions)


def closed_to_others(served: Served) -> None:
    """No file of the session or the machine is served, and no other name is answered to."""
    [mine] = served.sessions
    files = [path for path in mine.rglob("*") if path.is_file()]
    assert len(files) == 12  # and nothing that was refused
    uploads = [path for path in (mine.parent.parent / "uploads").rglob("*") if path.is_file()]
    assert uploads == []
    known = {"Authorization": f"Bearer {served.token}"}
    for path in (files[0], "/etc/passwd", Path(__file__)):
        assert status(f"{served.address}/gradio_api/file={path}", known) in (403, 404)
    assert status(f"{served.address}/studio/run/guess.zip", known) == 404
    assert status(f"{served.address}/", known | {"Host": "evil.example"}) == 400
    assert status(f"{served.address}/", known) == 200
    assert status(f"{served.address}/") == 403


def status(address: str, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers or {}), timeout=120
        ) as answer:
            if answer.status == 200:
                assert "default-src 'self'" in answer.headers["content-security-policy"]
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
