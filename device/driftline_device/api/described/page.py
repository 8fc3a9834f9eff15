"""The description as one page that loads nothing: it is read where there is no internet."""

from __future__ import annotations

from html import escape
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}code{font-size:.9em}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #8884;"
    "vertical-align:top}h2{margin-top:2rem}"
)

EXAMPLE = """curl http://127.0.0.1:PORT/v1/chat/completions \\
  -H "content-type: application/json" -d \\
  '{"messages": [{"role": "user", "content": [{"type": "text", "text": "What colour is the ball?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}]}]}'"""


def page(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI `document`."""
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>",
        f"<style>{STYLE}</style><h1>{title}</h1>",
        f"<pre><code>{escape(EXAMPLE)}</code></pre>",
        '<p>For programs: <a href="openapi.json">openapi.json</a>',
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation['summary'])}")
            parts.append(_fields(operation, document))
    return "\n".join(part for part in parts if part) + "\n"


def _fields(operation: dict[str, Any], document: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    rows = [
        f"<tr><td><code>{escape(name)}</code><td>{escape(_kind(field))}"
        for name, field in schema["properties"].items()
    ]
    return "<table><tr><th>field<th>kind" + "".join(rows) + "</table>"


def _kind(field: dict[str, Any]) -> str:
    kinds = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    words = []
    for kind in kinds:
        word = kind.get("type") or ("object" if "$ref" in kind else "any")
        low, high = kind.get("minimum"), kind.get("maximum")
        if low is not None or high is not None:
            word += f" ({'' if low is None else low}..{'' if high is None else high})"
        words.append(word)
    return " or ".join(words)
