"""What protects a web server on this machine from other web pages and from clients that take their time.

Any page that a browser shows may send requests to 127.0.0.1, and a name that its maker controls may lead there. So
`Guard` answers under known names only, and to no other origin. `patient` makes uvicorn's protocol close connections
whose requests do not arrive, of which a thousand would be enough to shut everybody else out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

HEAD_SECONDS = 10.0  # that the head of a request may take to arrive
LARGEST_HEAD = 2**16  # bytes
PIECE = 2**14  # bytes that are looked at together
MOST_AHEAD = 8  # requests that a client may send before the first one is answered; browsers send none
MOST_CONNECTIONS = 400

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Guard:
    """ASGI middleware: 400 for requests under other names, 403 for those that pages of elsewhere make.

    names: host names that a browser may call the server by; "*" for any. Addresses such as 127.0.0.1 are known
    without: no page can be made to have one. origins: pages that may ask, such as https://example.org; "*" for any.
    """

    def __init__(
        self, app: App, names: Collection[str] = ("localhost",), origins: Collection[str] = ()
    ) -> None:
        self.app = app
        self.names = {name.casefold().rstrip(".") for name in names}
        self.origins = {origin.casefold().rstrip("/") for origin in origins}

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        hosts = _values(scope, b"host")
        name = name_of(hosts[0]) if len(hosts) == 1 else None
        if name is None or not ("*" in self.names or name in self.names or _is_address(name)):
            await refuse(send, 400, "unknown host: this server does not answer under that name")
        elif not self._may_ask(scope, hosts[0]):
            await refuse(send, 403, "this server does not answer to pages of other origins")
        else:
            await self.app(scope, receive, send)

    def _may_ask(self, scope: Message, host: str) -> bool:
        origins = [origin.casefold() for origin in _values(scope, b"origin")]
        if any((origin != "null" and "*" in self.origins) or origin in self.origins for origin in origins):
            return len(origins) == 1
        if origins:
            return len(origins) == 1 and origins[0].partition("://")[2] == host.casefold()
        sites = _values(scope, b"sec-fetch-site")
        if all(site in ("none", "same-origin") for site in sites):
            return True
        # a link that somebody follows shows the page to that person, not to the page that holds the link
        followed = _values(scope, b"sec-fetch-mode") == ["navigate"]
        shown = _values(scope, b"sec-fetch-dest") == ["document"]
        return "*" in self.origins or (followed and shown and scope.get("method") == "GET")


class Token:
    """ASGI middleware: answers only those who know the token, in the address at first and then in a cookie.

    cookie: its name; ports of one machine share their cookies, so that it holds the port.
    """

    def __init__(self, app: App, token: str, cookie: str) -> None:
        self.app, self.token, self.cookie = app, token, cookie

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = query.pop("token", [])
        if self._is(given) and scope.get("method") == "GET":
            rest = f"?{urlencode(query, doseq=True)}" if query else ""
            path = "/" + scope["path"].lstrip("/")  # two of them would lead to another host
            where = [(b"location", f"{quote(path)}{rest}".encode())]
            told = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax"
            await answer(
                send, 303, "", [*where, (b"set-cookie", told.encode()), (b"cache-control", b"no-store")]
            )
        elif self._is(self._held(scope)):
            await self.app(scope, receive, send)
        else:
            await refuse(
                send, 403, "open the address that the program has printed: it holds a token, as a key"
            )

    def _held(self, scope: Message) -> list[str]:
        found = [value.removeprefix("Bearer ") for value in _values(scope, b"authorization")]
        for line in _values(scope, b"cookie"):
            for part in line.split(
                ";"
            ):  # http.cookies gives up at the first cookie of others that it dislikes
                name, _, value = part.strip().partition("=")
                found += [value] if name == self.cookie else []
        return found

    def _is(self, given: Iterable[str]) -> bool:
        return any(secrets.compare_digest(one.encode(), self.token.encode()) for one in given)


def name_of(host: str) -> str | None:
    """The name in a Host header, without its port; None for what is none."""
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "0")
    if not port.isascii() or not name or any(c in name for c in "/\\@?#, \t"):
        return None
    return name.casefold().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name[1:-1] if name[:1] == "[" and name[-1:] == "]" else name)
    except ValueError:
        return False
    return True


def _values(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]


async def refuse(send: Any, status: int, detail: str) -> None:
    await answer(send, status, f'{{"detail":"{detail}"}}', [(b"content-type", b"application/json")])


async def answer(send: Any, status: int, text: str, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(text.encode())).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": text.encode()})


class _Noteworthy(logging.Filter):
    """Not that a client hung up, nor that what was open when the server ended was cut off: pages of traces otherwise."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, asyncio.CancelledError) or type(error).__name__ == "ClientDisconnect":
            return False
        return not record.getMessage().startswith("Cancel ")


NOTEWORTHY = _Noteworthy()


def quieten_log() -> None:
    """uvicorn's log holds what somebody should look at; may be called again."""
    logging.getLogger("uvicorn.error").addFilter(NOTEWORTHY)


def most_connections() -> int:
    """As many as leave half of the files that this process may open for everything else."""
    try:
        import resource
    except ImportError:  # Windows
        return MOST_CONNECTIONS
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if soft < 0 else max(16, min(MOST_CONNECTIONS, soft // 2))


def patient(body_seconds: float, head_seconds: float = HEAD_SECONDS, most: int | None = None) -> type:
    """uvicorn's protocol with limits: for its option `http`.

    head_seconds, body_seconds: how long head and body of a request may take to arrive. most: connections at a time;
    beyond it the one goes whose request has been awaited longest.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    limit = most or most_connections()
    base: Any = AutoHTTPProtocol
    tells = hasattr(base, "on_body")  # which parts of a request are complete, as that of httptools does

    class Patient(base):
        """awaited: since when its request, or the rest of it, has been awaited; None while it is answered."""

        awaited: float | None = None
        head_bytes = 0  # that came since a head or a part of a body was last complete
        went_on = in_body = False
        clock: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await()
            if len(self.connections) > limit:
                waiting = [other for other in self.connections if not other._answered()]
                min(waiting or [self], key=lambda other: other.awaited or 0.0).give_up()  # idle ones first

        def data_received(self, data: bytes) -> None:
            for start in range(0, len(data), PIECE):  # so that what one piece holds is bounded
                self._take(data[start : start + PIECE])

        def on_header(self, name: bytes, value: bytes) -> None:
            if not self.in_body:  # behind a body come trailers, which nobody reads
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self.went_on = self.in_body = True
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self.in_body = False
            super().on_message_complete()

        def on_body(self, body: bytes) -> None:
            self.went_on = True
            super().on_body(body)

        def _take(self, data: bytes) -> None:
            if self.transport is None or self.transport.is_closing():
                return
            self.went_on = False
            was_answered = self._answered()
            super().data_received(data)
            if self.transport is None or self.transport.is_closing():
                return
            if self._answered():
                self._stop()
            elif was_answered or self.awaited is None:
                self._await()
            if not tells:
                self.went_on = self._begun() or self._has_rest()
            self.head_bytes = 0 if self.went_on else self.head_bytes + len(data)
            if len(getattr(self, "pipeline", ())) > MOST_AHEAD:
                self.give_up()
            elif self.head_bytes > LARGEST_HEAD:
                self.give_up(b"431 Request Header Fields Too Large")

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def give_up(self, status: bytes = b"408 Request Timeout") -> None:
            """Closes it; says why, unless it is in the middle of an answer."""
            self._stop()
            if self.transport is None or self.transport.is_closing():
                return
            if not self._begun() and not self._has_rest() and self.head_bytes:
                self.transport.write(
                    b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                )
                self.transport.close()
            else:
                self.transport.abort()

        def _begun(self) -> bool:
            """Whether the head of a request is there that has not been answered."""
            return self.cycle is not None and not self.cycle.response_complete

        def _has_rest(self) -> bool:
            """Whether a body is still to come, perhaps of a request that was answered before its end."""
            return self.cycle is not None and self.cycle.more_body

        def _answered(self) -> bool:
            """Whether nothing more is awaited from the client."""
            return self._begun() and not self._has_rest()

        def _await(self) -> None:
            self._stop()
            self.awaited = time.monotonic()
            self.clock = self.loop.call_later(head_seconds, self._look)

        def _look(self) -> None:
            if self.awaited is None:
                return
            left = self.awaited + (body_seconds if self._has_rest() else head_seconds) - time.monotonic()
            if left <= 0:
                self.give_up()
            else:
                self.clock = self.loop.call_later(left, self._look)

        def _stop(self) -> None:
            self.awaited = None
            if self.clock is not None:
                self.clock.cancel()
                self.clock = None

    return Patient
