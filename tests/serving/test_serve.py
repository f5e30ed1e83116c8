"""A real server: the same answers as in Python, clear refusals, and an end in order."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import Server, free_port, started
from PIL import Image

from vlprompt import PromptClassifier, Run


def png(size: tuple[int, int] = (40, 48), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 120).save(file, "PNG") if mode == "L" else Image.new(
        mode, size, (200, 40, 30)
    ).save(file, "PNG")
    return file.getvalue()


def row(answer: dict[str, object], names: list[str]) -> list[float]:
    found = {entry["class"]: entry["probability"] for entry in answer["top"]}  # type: ignore[index, attr-defined]
    return [found[name] for name in names]


def one_line(answer: httpx.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"] and words in answer.json()["detail"] and "\n" not in answer.text


def test_the_same_probabilities_as_in_python_however_a_picture_comes(
    client: httpx.Client, run: Path, pictures: Path
) -> None:
    classifier = PromptClassifier.load(run, device="cpu")
    names = list(classifier.class_names_)
    files = sorted(pictures.glob("test/*/*.png"))
    expected = classifier.predict_proba(files)
    for i, path in enumerate(files[:4]):
        data = path.read_bytes()
        text = base64.b64encode(data).decode()
        answers = [
            client.post("/predict?top=99", content=data),
            client.post("/predict?top=99", content=data, headers={"Content-Type": "image/png"}),
            client.post("/predict", files={"file": (path.name, data, "image/png")}, data={"top": "99"}),
            client.post("/predict", json={"image": text, "top": 99}),
            client.post("/predict", json={"image": f"data:image/png;base64,{text}", "top": 99}),
        ]
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert np.allclose(row(answer.json(), names), expected[i], atol=1e-6, rtol=0)


def test_many_at_once_get_each_their_own_answer(server: Server, run: Path, pictures: Path) -> None:
    classifier = PromptClassifier.load(run, device="cpu")
    names = list(classifier.class_names_)
    files = sorted(pictures.glob("test/*/*.png"))
    expected = classifier.predict_proba(files)
    bad = b"no picture"

    def ask(i: int) -> httpx.Response:
        with server.client() as own:
            return own.post(
                "/predict?top=99", content=bad if i % 5 == 4 else files[i % len(files)].read_bytes()
            )

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(64)))
    for i, answer in enumerate(answers):
        if i % 5 == 4:
            one_line(answer, 400, "not a picture")
        else:
            assert answer.status_code == 200
            assert np.allclose(row(answer.json(), names), expected[i % len(files)], atol=1e-6, rtol=0)


def test_top_and_unknown(client: httpx.Client, run: Path, pictures: Path) -> None:
    files = sorted(pictures.glob("test/*/*.png"))
    expected = Run.load(run, device="cpu").predict(files, top=2, reject=0.95)
    for path, one in zip(files, expected, strict=True):
        answer = client.post("/predict?top=2", content=path.read_bytes()).json()
        assert answer["label"] == one.label and answer["unknown"] == one.rejected
        assert [entry["class"] for entry in answer["top"]] == [name for name, _ in one.top]
    assert len(client.post("/predict", content=png()).json()["top"]) == 4
    for top in ("0", "-1", "many", "1.5", ""):
        one_line(client.post("/predict", params={"top": top}, content=png()), 400, "top")
    one_line(
        client.post("/predict", json={"image": base64.b64encode(png()).decode(), "top": [1]}), 400, "top"
    )


def test_bodies_that_are_no_pictures(client: httpx.Client) -> None:
    whole = png()
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    jpeg = file.getvalue()
    for data in (
        b"\0",
        b"GIF89a",
        whole[:30],
        whole[: len(whole) // 2],
        jpeg[: len(jpeg) // 2],
        b"\x89PNG\r\n\x1a\n" + bytes(200),
    ):
        one_line(client.post("/predict", content=data), 400, "the picture")
        one_line(client.post("/predict", files={"file": data}), 400, "the picture")
    one_line(client.post("/predict", content=b""), 400, "no body")
    for text in ("{", "[]", "[" * 100_000, '{"image": 3}', '{"picture": "x"}'):
        one_line(
            client.post("/predict", content=text, headers={"Content-Type": "application/json"}), 400, "JSON"
        )
    one_line(client.post("/predict", json={"image": "???"}), 400, "base64")
    one_line(client.post("/predict", json={"image": ""}), 400, "empty")
    one_line(client.post("/predict", files={"top": (None, "3")}), 400, "no file")
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"nothing", b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\ncut off"):
        one_line(client.post("/predict", content=body, headers=form), 400, "form")
    one_line(
        client.post("/predict", content=whole, headers={"Content-Type": "multipart/form-data"}), 400, "form"
    )
    assert client.post("/predict", content=whole).status_code == 200


@pytest.mark.parametrize("part", ["[]", "{}", "0", "[[[[[[]]]]]]", '{"image":""}'])
def test_json_of_nothing_but_values_is_refused_at_once(part: str) -> None:
    """They would be made in the process that speaks HTTP, which answers nobody meanwhile."""
    from fastapi import HTTPException

    from vlprompt.serving.requests import _from_json

    body = f'{{"images": [{",".join([part] * (10_000_000 // (len(part) + 1)))}]}}'.encode()
    began = time.process_time()
    with pytest.raises(HTTPException, match="more values"):
        _from_json(body, 64)
    assert time.process_time() - began < 0.5
    whole = {"images": [f"data:image/png;base64,{base64.b64encode(png()).decode()}"] * 64, "top": 3}
    pictures, many, top = _from_json(json.dumps(whole, indent=1).encode(), 64)
    assert pictures == [png()] * 64 and many and top == 3


def test_limits(client: httpx.Client, server: Server) -> None:
    one_line(client.post("/predict", content=bytes(300_000)), 413, "200000 bytes")
    one_line(client.post("/predict", content=iter([bytes(100_000)] * 4)), 413, "200000 bytes")
    one_line(client.post("/predict", content=png((1001, 1000), "L")), 413, "1001 x 1000 pixels")
    with pytest.raises(httpx.HTTPError):  # more than is read to be polite
        answer = client.post("/predict", content=iter([bytes(100_000)] * 100))
        assert answer.status_code == 413
        raise httpx.HTTPError("answered in time")
    # a body that never ends, and one whose sender goes away
    place = server.url.removeprefix("http://").split(":")
    with socket.create_connection((place[0], int(place[1]))) as half:
        half.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    assert client.get("/health").status_code == 200


def test_health_and_info(client: httpx.Client, run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    assert client.get("/health").text == "ok"
    told = client.get("/info").json()["model"]
    assert told["classes"] == info["class_names"] and told["method"] == "coop"
    assert told["backbone"]["fingerprint"] == info["backbone"]["fingerprint"]
    assert told["unknown"] == {"coverage": 0.95} and told["limits"]["max_pixels"] == 1_000_000
    assert str(run.parent) not in json.dumps(told) and info["backbone"]["source"] not in json.dumps(told)
    assert client.get("/predict").status_code == 405


def test_several_pictures_in_one_request(client: httpx.Client, run: Path, pictures: Path) -> None:
    files = sorted(pictures.glob("test/*/*.png"))[:3]
    alone = [client.post("/predict?top=2", content=path.read_bytes()).json() for path in files]
    sent = [path.read_bytes() for path in files]
    sent.insert(1, b"no picture")
    texts = [base64.b64encode(data).decode() for data in sent]
    for answer in (
        client.post("/predict", files=[("file", ("x", data)) for data in sent], data={"top": "2"}),
        client.post("/predict", json={"images": texts, "top": 2}),
    ):
        assert answer.status_code == 200, answer.text
        found = answer.json()["answers"]
        assert found[1]["status"] == 400 and "picture 2: not a picture" in found[1]["error"]
        for one, other in zip(alone, found[:1] + found[2:], strict=True):
            assert one["label"] == other["label"] and len(other["top"]) == 2
            assert abs(one["top"][0]["probability"] - other["top"][0]["probability"]) < 1e-6
    assert len(client.post("/predict", json={"images": texts[:1]}).json()["answers"]) == 1
    bad = client.post("/predict", json={"images": [texts[1], texts[1]]}).json()["answers"]
    assert [one["status"] for one in bad] == [400, 400]
    one_line(client.post("/predict", json={"images": []}), 400, "JSON")
    one_line(client.post("/predict", json={"images": [3]}), 400, "JSON")
    one_line(client.post("/predict", json={"images": ["aGk="] * 65}), 413, "65 pictures; at most 64")
    one_line(client.post("/predict", files=[("f", ("x", b"x"))] * 65), 413, "more than 64 pictures")


def test_it_describes_and_counts_itself(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert described["openapi"] == "3.1.0" and set(described["paths"]) == {
        "/predict",
        "/health",
        "/info",
        "/metrics",
    }
    page = client.get("/docs").text
    assert "POST /predict" in page and "<script" not in page and "src=" not in page

    def counted() -> dict[str, float]:
        rows = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in rows}

    before = counted()
    client.post("/predict", content=png())
    client.post("/predict", content=b"no picture")
    after = counted()
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert grown['vlprompt_requests_total{path="/predict",status="200"}'] == 1
    assert grown['vlprompt_requests_total{path="/predict",status="400"}'] == 1
    assert grown['vlprompt_pictures_total{outcome="refused"}'] == 1
    assert grown['vlprompt_predict_seconds_bucket{le="+Inf"}'] == 2
    assert after["vlprompt_requests_under_way"] == 0


def test_it_answers_no_foreign_pages_and_under_no_foreign_names(client: httpx.Client, server: Server) -> None:
    port = server.url.rpartition(":")[2]
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", "192.0.2.7"):
        assert client.get("/info", headers={"Host": host}).status_code == 200, host
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
        "a b",
    ):
        one_line(client.get("/info", headers={"Host": host}), 400, "unknown host")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        one_line(client.get("/info", headers=headers), 403, "other origins")
        one_line(client.post("/predict", content=png(), headers=headers), 403, "other origins")
    for headers in ({"Origin": server.url}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}):
        assert client.get("/info", headers=headers).status_code == 200


def test_pages_and_names_that_were_given_may_ask(run: Path) -> None:
    words = (
        "--cors",
        "https://shop.example",
        "--allow-host",
        "vl.example,other.example",
        "--decode-timeout",
        "0.4",
    )
    with started(run, *words) as server, server.client() as client:
        asked = {"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site", "Host": "vl.example"}
        answer = client.post("/predict", content=png(), headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        before = asked | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        assert client.options("/predict", headers=before).status_code == 200
        one_line(
            client.post("/predict", content=png(), headers={"Origin": "https://evil.example"}), 403, "origins"
        )
        # slow pictures are given up, and others are answered meanwhile
        out = io.BytesIO()
        Image.new("L", (6000, 6000), 7).save(out, "JPEG", progressive=True)
        data = out.getvalue()
        place = data.rindex(b"\xff\xda")
        slow = data[:place] + data[place:-2] * 40 + data[-2:]
        with ThreadPoolExecutor(4) as pool:

            def ask(_: int) -> httpx.Response:
                with server.client() as own:
                    return own.post("/predict", content=slow)

            asking = [pool.submit(ask, i) for i in range(4)]
            for _ in range(10):
                assert client.post("/predict", content=png()).status_code == 200
            for one in asking:
                one_line(one.result(), 408, "not decoded in 0.4 s")
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 10  # 1 s where nothing else runs


def test_clients_that_never_finish_shut_nobody_out(run: Path) -> None:
    """Half a head, or none, on more connections than may be open."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with started(run, "--quiet") as server:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            place = (server.url.split("/")[2].split(":")[0], int(server.url.rpartition(":")[2]))
            half = [socket.create_connection(place) for _ in range(300)]
            for number, one in enumerate(half):
                try:
                    one.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A: " if number % 2 else b"GE")
                except OSError:  # given up already
                    continue
            began = time.monotonic()
            with server.client() as client:
                for _ in range(5):
                    assert client.post("/predict", content=png()).status_code == 200
            assert time.monotonic() - began < 5
            # each of them is closed in bounded time, with a reason
            half[-1].settimeout(30)
            assert half[-1].recv(100).startswith(b"HTTP/1.1 408")
            large = socket.create_connection(place)
            large.settimeout(30)
            try:
                large.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: " + b"a" * 3_000_000)
                assert large.recv(100).startswith(b"HTTP/1.1 4")
            except ConnectionError:
                pass
            for one in (*half, large):
                one.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_requests_under_way_are_answered_before_the_end(run: Path) -> None:
    # a batch waits two seconds for its second picture; the signal comes meanwhile
    with started(run, "--batch-timeout", "2", "--reject", "0") as server:
        found: list[httpx.Response] = []

        def ask() -> None:
            with server.client() as own:
                found.append(own.post("/predict?top=1", content=png()))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.7)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.6)  # the request is still under way, and nobody waits for an answer that will not come
        with pytest.raises(httpx.ConnectError, match="refused"):
            httpx.get(f"{server.url}/health", trust_env=False)
        code, err = server.stop(signal.SIGTERM)
        asking.join(30)
        assert [answer.status_code for answer in found] == [200]
        assert "unknown" not in found[0].json() and len(found[0].json()["top"]) == 1
        assert code == 0 and "Traceback" not in err
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{server.url}/health", trust_env=False)


@pytest.mark.slow
def test_whoever_asks_during_restarts_gets_a_right_answer_or_none(run: Path) -> None:
    """Clients go on asking while a server ends and the next one begins on its port."""
    port, over = free_port(), threading.Event()
    answers: list[tuple[int, str]] = []
    unanswered: list[str] = []

    def ask(_: int) -> None:
        while not over.is_set():
            try:
                with httpx.Client(timeout=60, trust_env=False) as own:
                    found = own.post(f"http://127.0.0.1:{port}/predict", content=png())
                answers.append((found.status_code, found.text))
            except httpx.TransportError as error:  # nobody listens, or not any more
                unanswered.append(type(error).__name__)
                time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            for _ in range(3):
                before = len(answers)
                with started(run, "--quiet", port=port) as server:
                    until = time.monotonic() + 120
                    while len(answers) < before + 20 and time.monotonic() < until:
                        time.sleep(0.05)
                    code, err = server.stop()
                assert (code, err) == (0, "") and len(answers) >= before + 20
        finally:
            over.set()
        for one in asking:
            one.result(60)
    assert {code for code, _ in answers} <= {200, 503}
    said = [json.loads(text)["top"][0] for code, text in answers if code == 200]
    assert {one["class"] for one in said} == {said[0]["class"]}
    for one in said:  # batches of other sizes differ in the last digits
        assert one["probability"] == pytest.approx(said[0]["probability"], abs=1e-5)
    assert set(unanswered) <= {"ConnectError", "ReadError", "RemoteProtocolError"}


def test_too_many_at_once_are_told_to_come_back_and_ctrl_c_stops(run: Path) -> None:
    words = ("--batch-timeout", "1", "--max-waiting", "2", "--max-batch-size", "8", "--quiet")
    with started(run, *words) as server, ThreadPoolExecutor(6) as pool:

        def ask(_: int) -> httpx.Response:
            with server.client() as own:
                return own.post("/predict", content=png())

        codes = [answer.status_code for answer in pool.map(ask, range(6))]
        assert sorted(set(codes)) == [200, 503] and codes.count(200) >= 2
        assert server.stop(signal.SIGINT) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the process that predicts in /proc")
def test_the_server_ends_with_the_process_that_predicts(run: Path) -> None:
    with started(run, "--quiet") as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        (worker,) = (pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(int(worker), signal.SIGKILL)
        _, err = server.process.communicate(timeout=120)
        assert server.process.returncode == 1 and "a process of the server has died" in err
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{server.url}/health", trust_env=False)


def test_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vlprompt.cli.main import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, code, said in (
            ([str(tmp_path), "--port", str(free_port())], 1, "no run.json in it"),
            ([str(run), "--port", port], 2, f"port {port} cannot be used"),
            ([str(run), "--port", "80"], 2, "port is 80"),
            ([str(run), "--host", "example.org"], 2, "host is"),
            ([str(run), "--device", "cpus"], 2, 'no device "cpus"'),
            ([str(run), "--prot", "8000"], 2, "did you mean --port?"),
        ):
            capsys.readouterr()
            assert main(["--quiet", "serve", *words]) == code
            err = capsys.readouterr().err
            assert said in err and err.count("\n") == 1, err
