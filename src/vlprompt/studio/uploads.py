"""Files that have arrived and wait for a tab to take them: how many bytes there may be, and for how long."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from vlprompt.studio.limits import MB, Limits
from vlprompt.web_guards import refuse

LARGEST_MESSAGE = 50 * MB  # of what a page sends that is no file
LOOK = 60.0  # seconds between looks for files that nobody took


class Uploads:
    """The folder in which the web server puts what arrives."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self._coming = 0  # bytes of requests that are under way
        self._lock = threading.Lock()
        self._over = threading.Event()
        threading.Thread(target=self._look, name="vlprompt uploads", daemon=True).start()

    def admit(self, size: int) -> bool:
        """Whether so many bytes may arrive. `arrived` must follow, of all of them."""
        with self._lock:
            if self.held() + self._coming + size > self.limits.waiting_bytes:
                self.sweep()
                if self.held() + self._coming + size > self.limits.waiting_bytes:
                    return False
            self._coming += size
            return True

    def arrived(self, size: int) -> None:
        """So many of the bytes that were admitted are in the folder by now, or will never be."""
        with self._lock:
            self._coming -= size

    def held(self) -> int:
        """Bytes of all files that wait."""
        found = 0
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # taken at this moment
                found += path.lstat().st_size if not path.is_dir() else 0
        return found

    def sweep(self) -> None:
        """Removes what nobody took in time, and folders that are empty since then."""
        before = time.time() - self.limits.waiting_seconds
        for path in sorted(self.folder.rglob("*"), reverse=True):  # what lies in a folder comes before it
            with suppress(OSError):
                if path.lstat().st_mtime >= before:
                    continue
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()

    def close(self) -> None:
        self._over.set()

    def _look(self) -> None:
        while not self._over.wait(min(LOOK, self.limits.waiting_seconds)):
            self.sweep()


class Quota:
    """ASGI middleware: refuses uploads for which there is no room, before they arrive."""

    def __init__(self, app: Any, uploads: Uploads) -> None:
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if stated is None and any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            await refuse(send, 411, "say how long it is (Content-Length)")
            return
        size = int(stated) if stated is not None and stated.isdigit() else 0
        if not scope["path"].endswith("/upload") and size > LARGEST_MESSAGE:
            await refuse(send, 413, f"a message has at most {LARGEST_MESSAGE // MB} MB")
        elif not self.uploads.admit(size):
            await refuse(send, 413, "too many files have arrived that no tab has taken: try again later")
        else:
            left = [size]

            async def counted() -> Any:
                message = await receive()
                part = min(left[0], len(message.get("body", b"")))
                left[0] -= part
                self.uploads.arrived(part)
                return message

            try:
                await self.app(scope, counted, send)
            finally:
                self.uploads.arrived(left[0])
