"""A hub on this computer: the HTTP answers that huggingface_hub asks for when it fetches and when it pushes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What the hub holds.

    models: id -> folder, of the branch main. gated: ids that answer as gated models do. root: where new
    repositories lie; without it none can be made. tokens: those that may write, and read what is private.
    asked: the files fetched. cut: names of files that break off in the middle. requests: method and path of each.
    """

    def __init__(
        self,
        models: dict[str, Path],
        gated: tuple[str, ...] = (),
        root: Path | None = None,
        tokens: tuple[str, ...] = (),
    ) -> None:
        self.models = models
        self.gated = gated
        self.root = root
        self.tokens = tokens
        self.asked: list[str] = []
        self.cut: set[str] = set()
        self.requests: list[str] = []
        self.private: set[str] = set()
        self.branches: dict[tuple[str, str], Path] = {}
        self.commits: dict[tuple[str, str], int] = {}
        self.large: dict[str, bytes] = {}  # what LFS keeps, by its hash
        self.url = ""

    def sha(self, model: str, branch: str) -> str:
        """The last commit of a branch."""
        count = self.commits.get((model, branch), 0)
        if branch == "main" and not count:
            return COMMIT
        return hashlib.sha1(f"{model} {branch} {count}".encode()).hexdigest()

    def branch(self, model: str, revision: str) -> str | None:
        """The branch that a name or the hash of its last commit means."""
        names = ["main", *(name for of, name in self.branches if of == model)]
        return next((name for name in names if revision in (name, self.sha(model, name))), None)

    def folder(self, model: str, branch: str) -> Path:
        return self.models[model] if branch == "main" else self.branches[model, branch]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        # -- fetching --------------------------------------------------------------------------------

        def answer(self, body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            parts = [unquote(part) for part in self.path.split("?")[0].strip("/").split("/")]
            api = parts[:2] == ["api", "models"]
            model = "/".join(parts[2:4] if api else parts[:2])
            if not self.may_read(model, body):
                return None
            # api/models/OWNER/NAME/revision|tree/REVISION and OWNER/NAME/resolve/REVISION/FILE
            branch = hub.branch(model, next(iter(parts[5:6] if api else parts[3:4]), "main"))
            if branch is None:
                return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)
            folder = hub.folder(model, branch)
            if api and parts[4:5] == ["tree"]:
                return self.send_json([self.entry(file) for file in sorted(folder.iterdir())], body)
            if api:
                names = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
                content = {"id": model, "modelId": model, "sha": hub.sha(model, branch), "siblings": names}
                return self.send_json(content, body)
            return self.file(folder / parts[-1], hub.sha(model, branch), body)

        def may_read(self, model: str, body: bool) -> bool:
            if model in hub.gated:
                self.send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}, body)
            elif model not in hub.models or (model in hub.private and not self.known()):
                self.send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"}, body)
            else:
                return True
            return False

        def known(self) -> bool:
            return self.headers.get("Authorization", "").removeprefix("Bearer ") in hub.tokens

        def entry(self, file: Path) -> dict[str, object]:
            data = file.read_bytes()
            return {
                "type": "file",
                "path": file.name,
                "size": len(data),
                "oid": hashlib.sha1(data).hexdigest(),
            }

        def file(self, path: Path, commit: str, body: bool) -> None:
            if not path.is_file():
                return self.send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            data = path.read_bytes()
            if body:
                hub.asked.append(path.name)
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}
            if body and path.name in hub.cut:
                self.send_head(200, len(data), headers)
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                return None
            return self.send(200, data, headers, body)

        # -- pushing ---------------------------------------------------------------------------------

        def do_POST(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = unquote(self.path.split("?")[0])
            if not self.known():
                return self.send(401, b'{"error": "Invalid username or password."}', {}, True)
            if path == "/api/repos/create":
                return self.create(json.loads(data))
            if path == "/api/validate-yaml":
                return self.send_json({"errors": [], "warnings": []}, True)
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
                return self.make_branch(*found.groups())
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
                return self.preupload(found[1], json.loads(data))
            if re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
                return self.batch(json.loads(data))
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
                return self.commit(found[1], found[2], [json.loads(line) for line in data.splitlines()])
            return self.send(404, b"", {}, True)

        def create(self, asked: dict[str, Any]) -> None:
            model = f"{asked['organization'] or 'me'}/{asked['name']}"
            if hub.root is None or not model.startswith("me/"):
                return self.send(403, b'{"error": "You don\'t have the rights to create a model"}', {}, True)
            if model in hub.models:
                taken = {"error": "You already created this model repo", "url": f"{hub.url}/{model}"}
                return self.send_json(taken, True, 409)
            hub.models[model] = hub.root / model / "main"
            hub.models[model].mkdir(parents=True)
            (hub.models[model] / ".gitattributes").write_text(
                "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
            )
            if asked.get("visibility") == "private" or asked.get("private"):
                hub.private.add(model)
            return self.send_json({"url": f"{hub.url}/{model}", "name": model}, True)

        def make_branch(self, model: str, name: str) -> None:
            if (model, name) in hub.branches:
                return self.send_json({"error": "Reference already exists"}, True, 409)
            assert hub.root is not None
            hub.branches[model, name] = hub.root / model / name
            hub.branches[model, name].mkdir(parents=True)
            return self.send_json({}, True)

        def preupload(self, model: str, asked: dict[str, Any]) -> None:
            if model not in hub.models:
                return self.send(404, b"", {"X-Error-Code": "RepoNotFound"}, True)
            modes = [
                {
                    "path": file["path"],
                    "shouldIgnore": False,
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                }
                for file in asked["files"]
            ]
            return self.send_json({"files": modes}, True)

        def batch(self, asked: dict[str, Any]) -> None:
            objects = [
                {
                    "oid": o["oid"],
                    "size": o["size"],
                    "actions": {"upload": {"href": f"{hub.url}/lfs/{o['oid']}"}},
                }
                for o in asked["objects"]
            ]
            return self.send_json({"transfer": "basic", "objects": objects}, True)

        def do_PUT(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            data = self.rfile.read(int(self.headers["Content-Length"]))
            oid = self.path.rsplit("/", 1)[-1]
            right = hashlib.sha256(data).hexdigest() == oid
            if right:
                hub.large[oid] = data
            return self.send(200 if right else 400, b"", {}, True)

        def commit(self, model: str, revision: str, lines: list[dict[str, Any]]) -> None:
            branch = hub.branch(model, revision)
            if branch is None:
                return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"}, True)
            folder = hub.folder(model, branch)
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
                elif line["key"] == "lfsFile":
                    (folder / value["path"]).write_bytes(hub.large[value["oid"]])
            hub.commits[model, branch] = hub.commits.get((model, branch), 0) + 1
            sha = hub.sha(model, branch)
            done = {"success": True, "commitOid": sha, "commitUrl": f"{hub.url}/{model}/commit/{sha}"}
            return self.send_json(done, True)

        # -- both ------------------------------------------------------------------------------------

        def send_json(self, content: object, body: bool, status: int = 200) -> None:
            self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json"}, body)

        def send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_head(status, len(data), headers)
            if body:
                self.wfile.write(data)

        def send_head(self, status: int, length: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()

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
