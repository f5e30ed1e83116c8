"""A run as a page for browsers: a folder that opens by a double click, without a server and without a network.

The folder holds the exported model and onnxruntime-web as text in scripts, because a page that is opened from disk may load
scripts and nothing else. onnxruntime-web is not part of this package (14 MB, under its own licence): its folder is given,
and what is needed of it is copied.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from vlprompt.errors import ExportError, OptionError
from vlprompt.locks import workplace
from vlprompt.runs.exporting.export import Exported, export
from vlprompt.runs.run import Run

PAGES = Path(__file__).parents[2] / "assets" / "pages"
CODE, PROGRAM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"  # of onnxruntime-web/dist
FILES = ("index.html", "model.js", "runtime.js", "ABOUT.txt")
ABOUT = "index.html  the page: open it in a browser"  # how ABOUT.txt begins
GET_IT = "npm install onnxruntime-web puts it into node_modules/onnxruntime-web"
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")  # that the page's script knows


@dataclass(frozen=True)
class Page:
    """path: index.html. size: bytes of the folder's files. exported: the model, which lies in the folder as text."""

    path: Path
    size: int
    exported: Exported


def runtime_files(runtime: Path) -> tuple[Path, Path, str]:
    """Code and program of onnxruntime-web in its folder, and its version ("" if it does not say); OptionError."""
    for folder in (runtime, runtime / "dist"):
        code, program = folder / CODE, folder / PROGRAM
        if code.is_file() and program.is_file():
            about = folder.parent / "package.json"
            version = ""
            if about.is_file():
                try:
                    version = str(json.loads(about.read_text(encoding="utf-8")).get("version", ""))
                except (ValueError, AttributeError):
                    version = ""
            return code, program, version
    raise OptionError(f"{runtime}: there is no {CODE} with {PROGRAM} in it; {GET_IT}")


def check_place(folder: Path, overwrite: bool = False) -> None:
    """OptionError for a place where something else lies."""
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder}: is a file; a page is a folder")
    if folder.is_dir() and any(folder.iterdir()) and not _is_unfinished(folder):
        if not (folder / FILES[0]).is_file() or not (folder / FILES[1]).is_file():
            raise OptionError(f"{folder}: holds something else; give a new folder")
        if not overwrite:
            raise OptionError(
                f"{folder}: holds a page already; give another name, or --overwrite to replace it"
            )


def _is_unfinished(folder: Path) -> bool:
    """Whether there is what a killed export leaves: nothing but files of a page, without the page."""
    about = folder / "ABOUT.txt"
    if not set(os.listdir(folder)) <= set(FILES[1:]) or not about.is_file() or about.is_symlink():
        return False
    return about.read_bytes()[: len(ABOUT)] == ABOUT.encode()


def export_page(run: Run, folder: str | Path, runtime: str | Path, *, overwrite: bool = False) -> Page:
    """Writes the page of a run into a folder.

    run: as for `export`. runtime: the folder of onnxruntime-web. OptionError for places and runtimes that cannot be used,
    ExportError as from `export`, and for a run whose weights are too many for a page.
    """
    folder = Path(folder)
    code, program, version = runtime_files(Path(runtime).expanduser())
    check_place(folder, overwrite)
    how = run.backbone.preprocessing.interpolation
    if how not in INTERPOLATIONS:
        raise ExportError(f"its pictures are scaled with {how}, which the page does not know")
    with workplace(folder) as beside:
        found = export(run, beside / "model.onnx")
        if (beside / "model.onnx.data").exists():
            raise ExportError("its weights are more than a page in a browser can hold; export it to a file")
        about = {key: found.about[key] for key in ("class_names", "preprocessing", "method")}
        files = {
            "ABOUT.txt": about_text(version),  # the first one: it tells whose folder it is
            "model.js": script(MODEL=found.path),
            "runtime.js": script(RUNTIME_CODE=code, RUNTIME_PROGRAM=program),
            "index.html": html_of(run, about),  # the last one: a folder without it is no page
        }
        folder.mkdir(exist_ok=True)
        (folder / FILES[0]).unlink(missing_ok=True)
        for name, text in files.items():
            (beside / name).write_text(text, encoding="utf-8")
            os.replace(beside / name, folder / name)
    size = sum((folder / name).stat().st_size for name in FILES)
    return Page(folder / "index.html", size, found)


def script(**files: Path) -> str:
    """Files as texts in a script, by the names that the page reads them under."""
    return "".join(
        f'self.{name} = "{base64.b64encode(path.read_bytes()).decode()}";\n' for name, path in files.items()
    )


def html_of(run: Run, about: dict[str, Any]) -> str:
    """The page itself."""
    names = run.class_names
    listed = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    inside = json.dumps(about, ensure_ascii=False).replace(
        "<", "\\u003c"
    )  # so that no name can end the script
    return Template((PAGES / "classify.html").read_text(encoding="utf-8")).substitute(
        title="What is in the picture?",
        subtitle=escape(f"{len(names)} classes: {listed}"),
        style=(PAGES / "style.css").read_text(encoding="utf-8"),
        script=(PAGES / "classify.js").read_text(encoding="utf-8"),
        about=inside,
    )


def about_text(version: str) -> str:
    """What lies in the folder, for those who find it."""
    return (
        f"{ABOUT}\n"
        "model.js    the model, an ONNX file as text\n"
        f"runtime.js  onnxruntime-web{' ' + version if version else ''} as text\n"
        "            (Copyright Microsoft Corporation, MIT licence)\n\n"
        "The page loads these two and nothing else; no picture leaves the device.\n"
    )
