"""From an HTTP request to cropped pictures, or to the status that says in one line what was wrong with it.

    multipart/form-data   one file or several; a field `top`
    application/json      {"image": "base64", "top": 3} or {"images": ["base64", ...]}
    anything else         the bytes of one picture

`top` may also be in the query: POST /predict?top=3. This runs in the HTTP process, so that one bad picture
never spoils a batch; decoding itself goes on in processes that can be ended.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.errors import PictureError
from vlprompt.feeding.decoders import Crowded, Decoders, TooLarge, TooSlow
from vlprompt.serving.metrics import Metrics
from vlprompt.serving.serve_options import ServeOptions
from vlprompt.serving.turns import READ

LINGER = (
    4  # how many times max_bytes of a body that is too long are read and dropped, so that the answer arrives
)


MARKS, MARKS_OF_A_PICTURE = (
    200,
    4,
)  # commas, colons and brackets of JSON; a picture as data:...;base64,... has three


@dataclass(frozen=True)
class Refused:
    """A picture that is not predicted, and the HTTP status that says so."""

    status: int
    detail: str


@dataclass(frozen=True)
class Asked:
    """What travels to the worker. crops: uint8 [S, S, 3] each, as the backbone's preprocessing cuts it.

    many: whether several were sent, so that the answer is a list.
    """

    crops: tuple[np.ndarray | Refused, ...]
    top: int
    many: bool = False


class Reader:
    """Reads requests within the limits of the options. One per server; it counts the requests under way."""

    def __init__(self, options: ServeOptions, preprocessing: Preprocessing, metrics: Metrics) -> None:
        self.options, self.preprocessing, self.metrics = options, preprocessing, metrics
        self.decoders = Decoders(options.decode_timeout)
        self._threads: ThreadPoolExecutor | None = None  # made in the process that uses it

    def start(self) -> None:
        """Gets ready, in the process that speaks HTTP."""
        self._threads = ThreadPoolExecutor(
            self.decoders.quick + self.decoders.slow + 4, thread_name_prefix="decoding"
        )
        self.decoders.start()

    def close(self) -> None:
        self.decoders.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def asked(self, request: Request) -> Asked:
        """Raises HTTPException: 400, 408, 413 or 503."""
        try:
            body = await asyncio.wait_for(self._body(request), self.options.timeout)
        except asyncio.TimeoutError:
            raise HTTPException(
                408, f"the request took longer than {self.options.timeout:g} s to arrive"
            ) from None
        except ClientDisconnect:
            raise HTTPException(400, "the request ended before its body did") from None
        pictures, many, top = await self._parts(request, body)
        number = self.options.top if top is None else _number(top)
        if len(pictures) > self.options.max_pictures:
            most = self.options.max_pictures
            raise HTTPException(413, f"the request has {len(pictures)} pictures; at most {most} are taken")
        loop = asyncio.get_running_loop()
        names = [f"picture {i + 1}" for i in range(len(pictures))] if many else ["the picture"]
        crops = await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, self.crop, *pair)
                for pair in zip(pictures, names, strict=True)
            )
        )
        wrong = [crop for crop in crops if isinstance(crop, Refused)]
        self.metrics.pictures(len(crops) - len(wrong), len(wrong))
        if wrong and not many:
            wait = {"Retry-After": "1"} if wrong[0].status == 503 else None
            raise HTTPException(wrong[0].status, wrong[0].detail, headers=wait)
        return Asked(tuple(crops), number, many)

    def crop(self, data: bytes, name: str) -> np.ndarray | Refused:
        """The picture as the tower takes it, uint8 [S, S, 3]; exactly what `Run.predict` makes of the same bytes."""
        try:
            return self.decoders.crop(data, self.preprocessing, name, self.options.max_pixels)
        except PictureError as error:
            kinds = ((TooLarge, 413), (TooSlow, 408), (Crowded, 503))
            status = next((status for kind, status in kinds if isinstance(error, kind)), 400)
            return Refused(status, " ".join(str(error).split()))

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

    async def _parts(self, request: Request, body: bytes) -> tuple[list[bytes], bool, Any]:
        """The bytes of each picture, whether there may be several, and what the request says of `top`."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        top = request.query_params.get("top")
        if kind == "multipart/form-data":
            pictures, field = await _from_form(request, body, self.options.max_pictures)
            return pictures, len(pictures) > 1, top if field is None else field
        if kind == "application/json":
            pictures, many, field = _from_json(body, self.options.max_pictures)
            return pictures, many, top if field is None else field
        return [body], False, top


async def pictures(request: Request) -> AsyncIterator[Asked]:
    """FastAPI dependency of POST /predict; 503 while too many requests are under way."""
    reader: Reader = request.app.state.reader
    metrics = reader.metrics
    if metrics.under_way >= reader.options.max_waiting:
        raise HTTPException(503, "too many requests are under way: try again", headers={"Retry-After": "1"})
    metrics.under_way += 1
    try:
        asked = await reader.asked(request)
        setattr(request.state, READ, time.monotonic())
        yield asked
    finally:
        metrics.under_way -= 1


async def _from_form(request: Request, body: bytes, most: int) -> tuple[list[bytes], Any]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = await Request(request.scope, receive).form(max_files=most, max_fields=8)
    except Exception as error:
        # of the parser, for bytes that are no form; it gives up at the first file too many
        reason = " ".join(str(getattr(error, "detail", "") or getattr(error, "message", "")).split())
        if "too many files" in reason.casefold():
            raise HTTPException(413, f"the request has more than {most} pictures") from None
        raise HTTPException(400, "the form cannot be read" + (reason and f": {reason}")) from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise HTTPException(400, "the form has no file: send the picture as one")
    return [await file.read() for file in files], form.get("top")


def _from_json(body: bytes, most: int) -> tuple[list[bytes], bool, Any]:
    # of a body that is nothing but brackets, the values would be made for seconds in which nobody else is answered
    if sum(body.count(mark) for mark in b",[{:") > MARKS + MARKS_OF_A_PICTURE * most:
        raise HTTPException(
            400, f"the JSON holds far more values than a request of at most {most} pictures has"
        )
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None
    held = content if isinstance(content, dict) else {}
    many = "images" in held
    texts = held["images"] if many else [held.get("image")]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise HTTPException(
            400, 'the JSON has no "image": expected {"image": "base64 of the file"} or {"images": [...]}'
        )
    return [_bytes(text) for text in texts], many, held.get("top")


def _bytes(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text.encode("ascii").translate(None, b" \t\r\n\f\v"), validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(400, '"image" is no base64') from None


def _number(top: Any) -> int:
    text = top.strip() if isinstance(top, str) else str(top)
    if not (text.isascii() and text.isdigit()) or not int(text[:9]) >= 1:
        raise HTTPException(400, "top: expected a whole number from 1 on")
    return int(text[:9])
