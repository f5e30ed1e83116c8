"""The server described: GET /openapi.json for programs, GET /docs for people, both without anything from elsewhere."""

from __future__ import annotations

import html
import json
from typing import Any

from vlprompt import __version__

_DETAIL = {
    "description": "what is wrong, in one line",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_ERRORS = {
    "400": "no picture, cut off, no JSON, no base64, or `top` is no number",
    "403": "asked by a web page of another origin",
    "408": "it took too long to arrive or to decode",
    "413": "too many bytes, pixels or pictures",
    "500": "a mistake in vlprompt, or a process of the server has died",
    "503": "too much to do at this moment: try again",
    "504": "it waited too long for its turn",
}


def openapi() -> dict[str, Any]:
    """The description in OpenAPI 3.1."""
    file = {"type": "string", "contentMediaType": "image/*", "contentEncoding": "base64"}
    body = {
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "top": {"type": "integer", "minimum": 1},
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "image": file,
                    "images": {"type": "array", "items": file},
                    "top": {"type": "integer", "minimum": 1},
                },
            }
        },
    }
    answers = {"oneOf": [{"$ref": "#/components/schemas/Answer"}, {"$ref": "#/components/schemas/Answers"}]}
    responses: dict[str, Any] = {
        "200": {
            "description": "an answer; of several pictures, one for each",
            "content": {"application/json": {"schema": answers}},
        }
    }
    responses |= {status: _DETAIL | {"description": said} for status, said in _ERRORS.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "vlprompt", "version": __version__, "description": "Which class a picture shows."},
        "paths": {
            "/predict": {
                "post": {
                    "summary": "The most probable classes of one picture or several",
                    "parameters": [
                        {
                            "name": "top",
                            "in": "query",
                            "description": "classes in an answer",
                            "schema": {"type": "integer", "minimum": 1},
                        }
                    ],
                    "requestBody": {"required": True, "content": body},
                    "responses": responses,
                }
            },
            "/health": _get("ok once the run is loaded", "text/plain"),
            "/info": _get("classes, method, backbone and limits", "application/json"),
            "/metrics": _get("counts and times, as Prometheus reads them", "text/plain"),
        },
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    one = {"type": "object", "properties": {"class": {"type": "string"}, "probability": {"type": "number"}}}
    answer = {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "top": {"type": "array", "items": one},
            "unknown": {"type": "boolean", "description": "only of runs that can say so"},
        },
        "required": ["label", "top"],
    }
    wrong = {
        "type": "object",
        "properties": {"error": {"type": "string"}, "status": {"type": "integer"}},
        "required": ["error", "status"],
    }
    each = {"oneOf": [{"$ref": "#/components/schemas/Answer"}, wrong]}
    return {
        "Answer": answer,
        "Answers": {
            "type": "object",
            "properties": {"answers": {"type": "array", "items": each}},
            "required": ["answers"],
        },
        "Error": {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]},
    }


def _get(said: str, kind: str) -> dict[str, Any]:
    return {"get": {"summary": said, "responses": {"200": {"description": said, "content": {kind: {}}}}}}


def page(where: str) -> str:
    """The same for people, as HTML. where: the server's address."""
    described, rows = openapi(), []
    for path, kinds in described["paths"].items():
        for kind, told in kinds.items():
            rows.append(
                f"<h2><code>{kind.upper()} {html.escape(path)}</code></h2><p>{html.escape(told['summary'])}</p>"
            )
            if kind == "post":
                rows.append(_posting(where, told))
    schemas = html.escape(json.dumps(described["components"]["schemas"], indent=1))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>vlprompt serve</title><style>{_STYLE}</style>"
        f"<h1>vlprompt serve</h1><p>For programs: <a href=/openapi.json>openapi.json</a></p>{''.join(rows)}"
        f"<h2>Answers</h2><pre>{schemas}</pre></html>"
    )


def _posting(where: str, told: dict[str, Any]) -> str:
    lines = (
        f"curl --data-binary @cat.jpg '{where}/predict?top=3'",
        f"curl -F file=@cat.jpg -F file=@dog.jpg -F top=3 {where}/predict",
    )
    statuses = "".join(
        f"<tr><td>{status}<td>{html.escape(answer['description'])}"
        for status, answer in told["responses"].items()
    )
    shown = html.escape("\n".join(lines))
    return (
        f'<pre>{shown}</pre><p>Or JSON: <code>{{"image": "base64", "top": 3}}</code>, of several '
        f'<code>{{"images": ["base64", ...]}}</code>.</p><table>{statuses}</table>'
    )


_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;"
    "padding:0 1rem}pre{overflow:auto;padding:.7rem;border:1px solid #8884}td{padding:.1rem 1rem .1rem 0}"
)
