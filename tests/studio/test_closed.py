"""Who gets in: the studio as a web server, asked by other pages, under other names, without its token, too often."""

from __future__ import annotations

import http.cookies
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import png, teach, until

from vlprompt.errors import DataError
from vlprompt.studio.limits import Limits
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.uploads import Uploads
from vlprompt.studio.workshop import Studio

pytest.importorskip("gradio", reason="the studio needs Gradio")
httpx = pytest.importorskip("httpx")


SERVE = """
import signal, sys; sys.path[:] = sys.argv[2:]
from vlprompt.studio.limits import Limits
from vlprompt.studio.offered_backbones import Backbones
from vlprompt.studio.web_server import serve
from vlprompt.studio.workshop import Studio

studio = Studio(Backbones([sys.argv[1]]), limits=Limits(waiting_bytes=300_000, waiting_seconds=600.0))

def learn(job):
    step = 0
    while True:
        job.report({"event": "step", "step": step})
        (studio.session("tab").folder / str(step % 100)).write_bytes(b"learned")
        step += 1

if "learning" in sys.argv:
    studio.trainings.submit("tab", learn)
signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever starts this in the background ignores
try:
    serve(studio, 0, lambda address: print(address, flush=True))
except KeyboardInterrupt:  # as the command line does
    sys.exit(130)
"""


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(tiny: str, temporary: Path) -> Iterator[str]:
    """A studio in a process of its own, with small limits."""
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SERVE, tiny, *sys.path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        where = process.stdout.readline().strip()
        parts = urlsplit(where)

        def listening() -> bool:
            try:
                return httpx.get(f"{parts.scheme}://{parts.netloc}/", trust_env=False).status_code == 403
            except httpx.HTTPError:
                return False

        until(listening)
        yield where
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert not list(temporary.glob("vlprompt-studio-*"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_during_a_training_leaves_nothing(tiny: str, tmp_path: Path, name: str, code: int) -> None:
    if not hasattr(signal, name):
        pytest.skip("a signal that this system does not know")
    environment = os.environ | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SERVE, tiny, *sys.path, "learning"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment)
    try:
        where = urlsplit(process.stdout.readline().strip())
        token = {"Authorization": f"Bearer {where.query.removeprefix('token=')}"}

        def learning() -> bool:
            return bool(list(tmp_path.glob("vlprompt-studio-*/sessions/*/99")))

        until(learning)
        with httpx.Client(base_url=f"http://{where.netloc}", trust_env=False, headers=token) as client:

            def listening() -> bool:
                try:
                    return client.get("/config").status_code == 200
                except httpx.HTTPError:
                    return False

            until(listening)
            with client.stream("GET", "/gradio_api/heartbeat/tab", timeout=60):  # an open page
                process.send_signal(getattr(signal, name))
                assert process.wait(30) == code
    finally:
        process.kill()
        process.stdout.close()
    assert not list(tmp_path.glob("vlprompt-studio-*"))
    assert "Traceback" not in (tmp_path / "said").read_text()


def arrived(temporary: Path) -> int:
    """Bytes of what has arrived and nobody took."""
    return sum(path.stat().st_size for path in temporary.glob("*/uploads/**/*") if path.is_file())


@pytest.fixture
def person(address: str) -> Iterator[httpx.Client]:
    """A browser that has opened the address."""
    parts = urlsplit(address)
    with httpx.Client(base_url=f"{parts.scheme}://{parts.netloc}", trust_env=False, timeout=60) as client:
        opened = client.get(f"{parts.path}?{parts.query}")
        assert opened.status_code == 303 and opened.headers["location"] == "/"
        told = http.cookies.SimpleCookie(opened.headers["set-cookie"])
        (name,) = told
        assert name.endswith(str(parts.port)) and told[name]["httponly"] and told[name]["samesite"] == "Lax"
        yield client


def send(client: httpx.Client, count: int = 1, **headers: str) -> httpx.Response:
    files = [
        ("files", (f"{i}.png", png("red cat", i) + os.urandom(20_000), "image/png")) for i in range(count)
    ]
    return client.post("/gradio_api/upload", files=files, headers=headers)


def test_only_with_the_token(address: str, person: httpx.Client) -> None:
    token = urlsplit(address).query.removeprefix("token=")
    with httpx.Client(base_url=person.base_url, trust_env=False) as other:
        for path in ("/", "/?token=", "/?token=guess", "/gradio_api/info", "/studio/run/guess.zip"):
            answer = other.get(path)
            assert answer.status_code == 403 and "address that the program has printed" in answer.text
        assert send(other).status_code == 403
        assert other.get("/", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert (
            other.post(f"/gradio_api/upload?token={token}").status_code == 403
        )  # in the address it only opens
        two = str(person.base_url).rstrip("/") + f"//evil.example/?token={token}"
        assert other.get(two).headers["location"] == "/evil.example/"
    assert person.get("/").status_code == 200 and len(token) > 30


def test_no_other_pages_and_names(person: httpx.Client) -> None:
    port = person.base_url.port
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": f"http://localhost:{port + 1}", "Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        assert send(person, **headers).status_code == 403, headers
        assert person.get("/gradio_api/info", headers=headers).status_code == 403, headers
    assert person.get("/", headers={"Host": f"evil.example:{port}"}).status_code == 400
    own = {"Origin": f"http://localhost:{port}", "Host": f"localhost:{port}", "Sec-Fetch-Site": "same-origin"}
    assert person.get("/config", headers=own).status_code == 200
    # a link that somebody follows, as in a terminal that is a page itself
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert person.get("/", headers=link).status_code == 200
    assert person.get("/", headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403


def test_files_of_sessions_and_of_the_machine_are_not_given_away(
    person: httpx.Client, temporary: Path
) -> None:
    """Gradio gives the files that have arrived to those who know their paths; nothing else may lie behind that door."""
    (root,) = temporary.glob("vlprompt-studio-*")
    (root / "sessions" / "another").mkdir(parents=True)
    secret = root / "sessions" / "another" / "secret.png"
    secret.write_bytes(b"of another tab")
    (root / "uploads" / "link").mkdir()
    (root / "uploads" / "link" / "a.png").symlink_to(secret)
    (root / "uploads" / "folder").symlink_to(root / "sessions")
    places = [
        str(secret),
        str(root / "uploads" / ".." / "sessions" / "another" / "secret.png"),
        str(root / "uploads" / "folder" / "another" / "secret.png"),
        str(root / "uploads" / "link" / "a.png"),
        "/etc/passwd",
        "/proc/self/environ",
        str(Path(__file__)),
        f"http://127.0.0.1:{person.base_url.port}/config",
    ]
    for place in places:
        for door in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api/stream/", "/static/"):
            for told in (place, place.replace("/", "%2f"), place.replace(".", "%2e"), "//" + place):
                answer = person.get(f"{door}{told}")
                assert answer.status_code in (302, 307, 400, 403, 404, 422), (door, told)
                assert b"of another tab" not in answer.content and b"root:" not in answer.content
    secret.unlink()
    (root / "uploads" / "link" / "a.png").unlink()
    (root / "uploads" / "folder").unlink()


def asks(client: httpx.Client, number: int, data: list[object]) -> str:
    """What the page is told by one of its functions, in a tab of its own."""
    tab = f"tab {time.monotonic_ns()}"
    message = {"data": data, "fn_index": number, "session_hash": tab}
    assert client.post("/gradio_api/queue/join", json=message).status_code == 200
    return client.get("/gradio_api/queue/data", params={"session_hash": tab}).text


def test_messages_name_no_files_but_those_that_have_arrived(
    person: httpx.Client, temporary: Path, tmp_path: Path
) -> None:
    """Gradio copies what a message names to where files arrive, whichever field of the page it is for."""
    made = person.get("/config").json()
    ids = {part["props"].get("elem_id"): part["id"] for part in made["components"]}
    (root,) = temporary.glob("vlprompt-studio-*")
    secret = tmp_path / "secret.png"
    secret.write_bytes(png("red cat", 1))

    def known() -> set[str]:
        return {path.name for path in (root / "uploads").rglob("*") if path.is_file()}

    for field in ("try-drop", "class-name", "backbone", "reopen", "camera"):
        for function in made["dependencies"]:
            if ids[field] not in function["inputs"]:
                continue
            for path in (str(secret), "/dev/zero", "http://127.0.0.1:9/a.png", [str(secret)]):
                record = {"path": path, "meta": {"_type": "gradio.FileData"}}
                for value in (record, [record], {"deeper": [[record]]}):
                    data = [value if part == ids[field] else None for part in function["inputs"]]
                    told = asks(person, function["id"], data)
                    assert '"success":false' in told and "drop it again" in told, told
    assert "secret.png" not in known() and "a.png" not in known()
    (arrived,) = send(person).json()
    (function,) = (
        one
        for one in made["dependencies"]
        if one["inputs"][:1] == [ids["try-drop"]] and one["targets"][0][1] == "upload"
    )
    record = {"path": arrived, "meta": {"_type": "gradio.FileData"}}
    assert '"success":true' in asks(person, function["id"], [[record], None])
    assert not Path(arrived).exists()


def test_what_nobody_takes_has_an_end(person: httpx.Client, temporary: Path) -> None:
    codes = [send(person).status_code for _ in range(30)]
    assert codes[0] == 200 and codes[-1] == 413 and 5 < codes.count(200) < 16
    assert 100_000 < arrived(temporary) <= 300_000
    assert send(person, 20).status_code == 413
    assert person.post("/gradio_api/upload", content=iter([b"x" * 10])).status_code == 411
    for path in temporary.glob("*/uploads/**/*"):
        os.utime(path, (1e9, 1e9))
    assert send(person).status_code == 200  # the others are too old
    assert arrived(temporary) < 60_000
    assert person.post("/gradio_api/queue/join", content=bytes(51 * 2**20)).status_code == 413
    # half an upload is no more than a whole one
    where = (person.base_url.host, person.base_url.port)
    cookie = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nContent-Length: 200000\r\n"
    kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Disposition: form-data; "
    with socket.create_connection(where) as half:
        half.sendall((head + kind + 'name="files"; filename="a.png"\r\n\r\n').encode() + bytes(50_000))
        time.sleep(0.5)
        assert send(person, 5).status_code == 413
    until(lambda: send(person, 5).status_code == 200, 20)


def test_what_nobody_takes_goes_by_itself(tmp_path: Path) -> None:
    waiting = Uploads(tmp_path, Limits(waiting_seconds=0.2))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"x")
    until(lambda: not list(tmp_path.iterdir()), 20)
    waiting.close()


def test_invented_sessions_lock_nobody_out(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    studio = Studio(Backbones([tiny]), limits=Limits(sessions=3))
    mine = teach(studio.session("mine"))
    for number in range(50):
        studio.session(f"invented {number}")
    assert studio.session("mine") is mine and studio.session("another") and len(studio.sessions) == 3
    with pytest.raises(DataError, match="lost touch"):
        studio.session("invented 0")
    teach(studio.session("another"))
    teach(studio.session("third"))
    with pytest.raises(DataError, match="in 3 tabs already"):
        studio.session("fourth")
    studio.close()
