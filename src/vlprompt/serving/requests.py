"""From an HTTP request to a cropped picture, or to the status that says in one line what was wrong with it.

    multipart/form-data   one file; a field `top`
    application/json      {"image": "base64", "top": 3}
    anything else         the bytes of the picture itself

`top` may also be in the query: POST /predict?top=3. This runs in the HTTP process, so that one bad picture
never spoils a batch, and decoding goes on while the worker computes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import HTTPException, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.data.pictures import open_picture
from vlprompt.errors import PictureError
from vlprompt.serving.serve_options import ServeOptions

LINGER = (
    4  # how many times max_bytes of a body that is too long are read and dropped, so that the answer arrives
)


@dataclass(frozen=True)
class Asked:
    """What travels to the worker. crop: uint8 [S, S, 3], as the backbone's preprocessing cuts it."""

    crop: np.ndarray
    top: int


class Reader:
    """Reads requests within the limits of the options. One per server; it counts the requests under way."""

    def __init__(self, options: ServeOptions, preprocessing: Preprocessing) -> None:
        self.options = options
        self.preprocessing = preprocessing
        self.under_way = 0
        self._decoding: asyncio.Semaphore | None = None  # made in the loop that uses it

    async def asked(self, request: Request) -> Asked:
        """Raises HTTPException: 400, 408 or 413."""
        try:
            body = await asyncio.wait_for(self._body(request), self.options.timeout)
        except asyncio.TimeoutError:
            raise HTTPException(
                408, f"the request took longer than {self.options.timeout:g} s to arrive"
            ) from None
        except ClientDisconnect:
            raise HTTPException(400, "the request ended before its body did") from None
        data, top = await self._parts(request, body)
        number = self.options.top if top is None else _number(top)
        if self._decoding is None:
            self._decoding = asyncio.Semaphore(os.cpu_count() or 1)  # each holds a whole decoded picture
        async with self._decoding:
            return Asked(await run_in_threadpool(self.crop, data), number)

    def crop(self, data: bytes) -> np.ndarray:
        """The picture as the tower takes it, uint8 [S, S, 3]; exactly what `Run.predict` makes of the same bytes."""
        pixels = _pixels(data)
        if pixels > self.options.max_pixels:
            raise HTTPException(
                413, f"the picture has {pixels} pixels; at most {self.options.max_pixels} are taken"
            )
        try:
            picture = open_picture(data, name="the picture")
        except PictureError as error:
            raise HTTPException(400, " ".join(str(error).split())) from None
        return np.asarray(self.preprocessing.crop(picture))

    async def _body(self, request: Request) -> bytes:
        most = self.options.max_bytes
        stated = request.headers.get("content-length", "")
        too_long = stated.isdigit() and int(stated) > most
        parts, count = [], 0
        async for part in request.stream():
            count += len(part)
            if count > most:
                too_long = True
            if not too_long:
                parts.append(part)
            elif count > LINGER * most:
                break
        if too_long:
            raise HTTPException(413, f"the request has more than {most} bytes")
        if not count:
            raise HTTPException(400, "the request has no body: send a picture")
        return b"".join(parts)

    async def _parts(self, request: Request, body: bytes) -> tuple[bytes, Any]:
        """The bytes of the picture, and what the request says of `top`."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        top = request.query_params.get("top")
        if kind == "multipart/form-data":
            data, field = await _from_form(request, body)
            return data, top if field is None else field
        if kind == "application/json":
            data, field = _from_json(body)
            return data, top if field is None else field
        return body, top


async def picture(request: Request) -> AsyncIterator[Asked]:
    """FastAPI dependency of POST /predict; 503 while too many requests are under way."""
    reader: Reader = request.app.state.reader
    if reader.under_way >= reader.options.max_waiting:
        raise HTTPException(503, "too many requests are under way: try again", headers={"Retry-After": "1"})
    reader.under_way += 1
    try:
        yield await reader.asked(request)
    finally:
        reader.under_way -= 1


async def _from_form(request: Request, body: bytes) -> tuple[bytes, Any]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = await Request(request.scope, receive).form(max_files=8, max_fields=8)
    except HTTPException as error:
        raise HTTPException(400, f"the form cannot be read: {' '.join(str(error.detail).split())}") from None
    except Exception:  # of the parser, for bytes that are no form
        raise HTTPException(400, "the form cannot be read") from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise HTTPException(400, "the form has no file: send the picture as one")
    if len(files) > 1:
        raise HTTPException(400, f"the form has {len(files)} files: send one picture in each request")
    return await files[0].read(), form.get("top")


def _from_json(body: bytes) -> tuple[bytes, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None
    text = content.get("image") if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise HTTPException(400, 'the JSON has no "image": expected {"image": "base64 of the file"}')
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True), content.get("top")
    except (binascii.Error, ValueError):
        raise HTTPException(400, '"image" is no base64') from None


def _number(top: Any) -> int:
    text = top.strip() if isinstance(top, str) else str(top)
    if not (text.isascii() and text.isdigit()) or not int(text[:9]) >= 1:
        raise HTTPException(400, "top: expected a whole number from 1 on")
    return int(text[:9])


def _pixels(data: bytes) -> int:
    """What the head of the file says; 0 if it says nothing, which `open_picture` then explains."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.width * image.height
    except Exception:
        return 0
