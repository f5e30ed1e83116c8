"""Who is answered by a server on this machine, and who is not."""

from __future__ import annotations

import asyncio

import pytest

from vlprompt.web_guards import Guard, Token, most_connections, name_of


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


def test_connections_leave_files_for_everything_else():
    assert 16 <= most_connections() <= 400
