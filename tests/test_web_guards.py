"""Who is answered by a server on this machine, and who is not."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from vlprompt.web_guards import Guard, Token, most_connections, name_of, patient


async def served(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def ask(app, *, method="GET", path="/", query=b"", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
    }
    asyncio.run(app(scope, None, send))
    start = sent[0]
    return start["status"], {key.decode(): value.decode() for key, value in start["headers"]}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:7860", 200),
        ("[::1]:80", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("localhost@evil.example", 400),
        ("", 400),
    ],
)
def test_only_known_names_and_addresses(host, status):
    assert ask(Guard(served), host=host)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:1"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}, 200),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}, 403),
    ],
)
def test_pages_of_elsewhere_are_not_answered(headers, status):
    assert ask(Guard(served), host="localhost:1", **headers)[0] == status


def test_an_origin_that_is_allowed_is_answered():
    app = Guard(served, origins=["https://shop.example"])
    assert ask(app, host="localhost", origin="https://shop.example")[0] == 200
    assert ask(app, host="localhost", origin="https://other.example")[0] == 403


def test_the_token_of_the_address_becomes_a_cookie():
    app = Token(served, "key", "held")
    assert ask(app)[0] == ask(app, query=b"token=guess")[0] == 403
    status, headers = ask(app, path="//evil.example", query=b"token=key&a=1")
    assert status == 303 and headers["location"] == "/evil.example?a=1"
    assert "held=key" in headers["set-cookie"] and "HttpOnly" in headers["set-cookie"]
    assert ask(app, cookie="broken; other=1; held=key")[0] == 200
    assert ask(app, authorization="Bearer key")[0] == 200
    assert ask(app, cookie="held=guess")[0] == 403


@pytest.mark.parametrize(("host", "name"), [("a:80", "a"), ("A.", "a"), ("a b", None), ("a/b", None)])
def test_names_of_hosts(host, name):
    assert name_of(host) == name


async def asked(streams: tuple[bytes, ...], again: bytes, seconds: float = 5.0) -> tuple[bool, bytes, int]:
    """Whether a server closed the connection in time, what it answered, and requests that reached the application.

    streams: sent first. again: sent until the connection is closed.
    """
    import uvicorn

    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        seen.append(scope)
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass
        await asyncio.sleep(0.05)
        await served(scope, receive, send)

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", ws="none", lifespan="off", http=patient(30.0))
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    closed, answer, end = False, b"", time.monotonic() + seconds
    try:
        for part in streams:
            writer.write(part)
        while again and time.monotonic() < end and not reader.at_eof():
            writer.write(again)
            await writer.drain()
        closed = time.monotonic() < end
    except ConnectionError:
        closed = True
    if not again:
        answer = await asyncio.wait_for(reader.read(500), 30)
    writer.close()
    server.should_exit = server.force_exit = True
    await serving
    return closed, answer, len(seen)


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
WITHOUT_END = {
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n" * 1000),
    "one trailer": (CHUNKED + b"0\r\nA: ", b"b" * 6000),
    "a chunk's extension": (CHUNKED + b"1;", b"b" * 6000),
    "a chunk's size": (CHUNKED, b"0" * 6000),
    "headers": (HEAD, b"A: b\r\n" * 1000),
    "the head of a second request": (HEAD + b"Content-Length: 1\r\n\r\nx" + HEAD, b"A: b\r\n" * 1000),
    "requests ahead": (b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100),
    "empty lines": (b"", b"\r\n" * 3000),
}


@pytest.mark.parametrize("name", WITHOUT_END)
def test_what_has_no_end_is_cut_off(name):
    """Everything but a body, which the application counts."""
    first, again = WITHOUT_END[name]
    closed, _, seen = asyncio.run(asked((first,), again))
    assert closed and seen <= 10


def test_bodies_and_trailers_of_honest_clients_arrive():
    body = b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in (1, 20_000, 300_000, 3))
    whole = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\nChecksum: 5\r\n\r\n"
    _, answer, seen = asyncio.run(asked((whole,), b""))
    assert answer.startswith(b"HTTP/1.1 200") and seen == 1
    two = HEAD + b"Content-Length: 3\r\n\r\nabc" + whole.replace(b"localhost", b"127.0.0.1")
    _, answer, seen = asyncio.run(asked((two,), b""))
    assert answer.startswith(b"HTTP/1.1 200") and seen == 2
    plain = HEAD + b"Content-Length: 500000\r\n\r\n" + b"x" * 500_000
    _, answer, seen = asyncio.run(asked((plain,), b""))
    assert answer.startswith(b"HTTP/1.1 200") and seen == 1


def test_connections_leave_files_for_everything_else():
    assert 16 <= most_connections() <= 400
