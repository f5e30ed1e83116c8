"""A hub on this computer: the few HTTP answers that huggingface_hub asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """models: id -> folder. gated: ids that answer as gated models do. asked: the files fetched."""

    def __init__(self, models: dict[str, Path], gated: tuple[str, ...] = ()) -> None:
        self.models = models
        self.gated = gated
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            parts = self.path.split("?")[0].strip("/").split("/")
            api = parts[:2] == ["api", "models"]
            model = "/".join(parts[2:4] if api else parts[:2])
            if model in hub.gated:
                self.send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}, body)
            elif model not in hub.models:
                self.send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"}, body)
            elif api and parts[4:5] == ["tree"]:
                self.send_json([self.entry(file) for file in sorted(hub.models[model].iterdir())], body)
            elif api:
                names = [{"rfilename": file.name} for file in sorted(hub.models[model].iterdir())]
                self.send_json({"id": model, "modelId": model, "sha": COMMIT, "siblings": names}, body)
            else:
                self.file(hub.models[model] / parts[-1], body)

        def entry(self, file: Path) -> dict[str, object]:
            data = file.read_bytes()
            return {
                "type": "file",
                "path": file.name,
                "size": len(data),
                "oid": hashlib.sha1(data).hexdigest(),
            }

        def file(self, path: Path, body: bool) -> None:
            if not path.is_file():
                return self.send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            data = path.read_bytes()
            if body:
                hub.asked.append(path.name)
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self.send(200, data, headers, body)

        def send_json(self, content: object, body: bool) -> None:
            self.send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, body)

        def send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
