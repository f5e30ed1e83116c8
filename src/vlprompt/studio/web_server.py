"""The studio as a web server on this machine alone: addresses, headers, the download, start and end."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vlprompt.errors import MissingExtra, OptionError

if TYPE_CHECKING:
    from vlprompt.studio.workshop import Studio

HOST = "127.0.0.1"
BODY_SECONDS = 300.0  # that an upload may take; it comes from this machine
FIRST_PORT, PORTS = 7860, 100
# Nothing is loaded from, or sent to, anywhere else. Gradio's pages need inline scripts and evaluation.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


def require() -> None:
    """MissingExtra unless Gradio is there."""
    if find_spec("gradio") is None:
        raise MissingExtra("Gradio", "studio", "the studio")


def quieten(studio: Studio) -> None:
    """Tells Gradio, before it is imported, to report to nobody and to put files into the studio's folder."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = os.environ["GRADIO_EXAMPLES_CACHE"] = str(studio.uploads)


def application(studio: Studio, token: str, port: int) -> Any:
    """The ASGI application of a studio. token: what a browser has to know; port: where it will listen."""
    quieten(studio)
    import gradio as gr
    from fastapi import FastAPI, Response

    from vlprompt.studio.page import LEAVING, SCRIPT, STYLE, build
    from vlprompt.studio.uploads import Quota
    from vlprompt.studio.zipped_runs import bundle
    from vlprompt.web_guards import Guard, Token

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/studio/run/{token}.zip")
    def download(token: str) -> Response:
        session = studio.sessions.of_token(token)
        data = bundle(session) if session is not None else None
        if data is None:
            return Response("there is nothing to download", 404, media_type="text/plain")
        named = {
            "content-disposition": 'attachment; filename="vlprompt-run.zip"',
            "cache-control": "no-store",
        }
        return Response(data, media_type="application/zip", headers=named)

    page = build(studio)
    page.queue(default_concurrency_limit=4)
    system = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Liberation Sans", "sans-serif"]
    theme = gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=system,
        font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    )
    gr.mount_gradio_app(
        app,
        page,
        "/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        max_file_size=studio.limits.upload_bytes,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css_paths=STYLE,
        head=f"<script type=module>{SCRIPT.read_text(encoding='utf-8')}</script>",
        allowed_paths=[],
        blocked_paths=[str(studio.sessions.root)],
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    # the last one added is asked first
    app.add_middleware(Quota, uploads=studio.arriving)
    app.add_middleware(Token, token=token, cookie=f"vlprompt-studio-{port}")
    app.add_middleware(Guard)
    app.add_middleware(_Headers)
    app.add_middleware(_FirstScript, script=LEAVING.read_text(encoding="utf-8"))
    return app


class _FirstScript:
    """Puts a script before all others of the page. (What Gradio is given as `head` is run after its own.)"""

    def __init__(self, app: Any, script: str) -> None:
        self.app, self.script = app, f"<head><script>{script}</script>".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        start: Any = None
        body = b""

        async def with_script(message: Any) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = body.replace(b"<head>", self.script, 1)
            headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, with_script)


class _Headers:
    """Adds HEADERS to every answer. (Starlette's own helper for this would hide that a tab was closed.)"""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


def listen(port: int | None = None) -> socket.socket:
    """A socket on this machine's own address. port: 0 for any that is free; None for the first free one from
    FIRST_PORT on. OptionError when it is taken."""
    for number in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, number))
            return found
        except OSError:
            found.close()
    if port is not None:
        raise OptionError(f"port {port} is taken or not permitted: give another --port")
    raise OptionError(f"no free port from {FIRST_PORT} on: give one with --port")


@contextmanager
def server(studio: Studio, port: int | None = None) -> Iterator[tuple[Any, socket.socket, str]]:
    """A uvicorn server that has not started yet, its socket and its address; the studio is closed at the end.

    The address holds a token, without which nothing is answered, so that it is for those alone who are told.
    """
    import uvicorn

    from vlprompt.web_guards import patient, quieten_log

    quieten_log()

    with listen(port) as bound:
        number, token = bound.getsockname()[1], secrets.token_urlsafe(24)
        config = uvicorn.Config(
            application(studio, token, number),
            log_level="warning",
            timeout_graceful_shutdown=2,
            access_log=False,
            ws="none",
            http=patient(BODY_SECONDS),
        )
        try:
            yield uvicorn.Server(config), bound, f"http://{HOST}:{number}/?token={token}"
        finally:
            studio.close()


def serve(
    studio: Studio, port: int | None = None, ready: Callable[[str], None] = lambda address: None
) -> None:
    """Serves until interrupted. ready: told the address; the browser may come a moment later."""
    ours = threading.current_thread() is threading.main_thread()
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C: what is temporary goes
        if hasattr(signal, name) and ours:
            signal.signal(getattr(signal, name), _end)
    with server(studio, port) as (serving, bound, address):
        hung_up: list[int] = []

        def end(number: int, frame: Any) -> None:  # uvicorn looks after the other signals itself
            hung_up.append(number)
            serving.should_exit = True

        if hasattr(signal, "SIGHUP") and ours:
            signal.signal(signal.SIGHUP, end)
        ready(address)
        serving.run(sockets=[bound])
        if hung_up:
            raise SystemExit(128 + hung_up[0])


def _end(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
