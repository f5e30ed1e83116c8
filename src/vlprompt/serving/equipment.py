"""What stands around the prediction: who may ask, the pages beside /predict, and processes that decode."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.middleware.cors import CORSMiddleware

from vlprompt.serving.description import openapi, page
from vlprompt.serving.metrics import Counting
from vlprompt.serving.requests import Reader
from vlprompt.serving.serve_options import ServeOptions, listed
from vlprompt.serving.turns import Turns, Waiting
from vlprompt.web_guards import Guard


def equip(app: FastAPI, options: ServeOptions, reader: Reader, turns: Turns) -> None:
    """Adds routes, guards and what starts and ends with the server."""
    app.state.reader = reader
    before = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(given: FastAPI) -> AsyncIterator[Any]:
        reader.start()
        turns.watch()
        try:
            async with before(given) as state:
                yield state
        finally:
            reader.close()

    app.router.lifespan_context = lifespan

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(reader.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/openapi.json", include_in_schema=False)
    async def described() -> JSONResponse:
        return JSONResponse(openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        own = {
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        }
        return HTMLResponse(page(address(options)), headers=own)

    # the last one added is asked first
    app.add_middleware(Waiting, turns=turns, timeout=options.timeout)
    origins = listed(options.cors)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["content-type", "x-api-key"],
        )
    app.add_middleware(Guard, names=names(options), origins=origins)
    app.add_middleware(Counting, metrics=reader.metrics)


def names(options: ServeOptions) -> tuple[str, ...]:
    """What the server may be called; this machine's own name too, where others reach it."""
    own = () if options.host == "127.0.0.1" else (socket.gethostname(), socket.getfqdn())
    return ("localhost", *own, *listed(options.allow_host))


def address(options: ServeOptions) -> str:
    """Where this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)
    return f"http://{host}:{options.port}"
