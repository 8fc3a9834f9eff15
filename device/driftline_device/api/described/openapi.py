"""What the API takes and gives, as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from driftline_device.api.chat.body import ChatBody
from driftline_device.api.responses.body import ResponsesBody

REF = "#/components/schemas/{model}"

ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string", "description": "the cause and the fix"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "what is wrong"},
                "code": {"type": "string"},
            },
        }
    },
}

ASKING: dict[str, tuple[str, type[BaseModel]]] = {
    "/v1/chat/completions": ("One question about one picture: OpenAI's chat completions", ChatBody),
    "/v1/responses": ("The same as one of OpenAI's responses", ResponsesBody),
}
"""POST: what it is, and its body."""

READING = {
    "/v1/models": "The pair, with the adapter version in force",
    "/v1/models/{name}": "The same, by a name that is answered",
    "/health": "The process lives; asks for no token",
    "/ready": "200 while questions are taken, else 503; asks for no token",
    "/status": "The device now",
    "/metrics": "Metrics in Prometheus's text format",
    "/openapi.json": "This description; asks for no token",
    "/docs": "This description as a page; asks for no token",
}
"""GET, and HEAD."""

OWNER = {
    "/": ("get", "The owner's pages"),
    "/history": ("get", "Past answers, as a page"),
    "/history/{answer_id}": ("post", "The form of that page: right, wrong, what would be right"),
    "/history/{answer_id}.png": ("get", "The picture of an answer, where one is kept"),
    "/updates": ("get", "What became of updates, and why, as a page"),
    "/v1/feedback": ("post", "Whether an answer was right, for programs: id, right, answer"),
}
"""Where a history is kept."""

ROUTES = (*ASKING, *READING, *OWNER)

NO_TOKEN = ("/health", "/ready", "/openapi.json", "/docs")


def document(version: str) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Error": ERROR}
    for path, (summary, body) in ASKING.items():
        schema = body.model_json_schema(ref_template=REF)
        schemas.update(schema.pop("$defs", {}))
        schemas[body.__name__] = schema
        content = {"application/json": {"schema": {"$ref": REF.format(model=body.__name__)}}}
        replies = _replies("an answer, or its events where stream is true")
        for status, why in (("400", "what is wrong, in error.message"), ("429", "ask again later")):
            replies[status] = _failure(why)
        paths[path] = {
            "post": {
                "summary": summary,
                "requestBody": {"required": True, "content": content},
                "responses": replies,
            }
        }
    for path, summary in READING.items():
        operation: dict[str, Any] = {"summary": summary, "responses": _replies(summary)}
        if path in NO_TOKEN:
            operation["security"] = []
        if "{name}" in path:
            operation["parameters"] = [_parameter("name")]
        paths[path] = {"get": operation}
    for path, (method, summary) in OWNER.items():
        operation = {"summary": summary, "responses": _replies(summary)}
        if "{answer_id}" in path:
            operation["parameters"] = [_parameter("answer_id")]
        paths[path] = {method: operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Driftline device", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _replies(what: str) -> dict[str, Any]:
    return {"200": {"description": what}}


def _failure(why: str) -> dict[str, Any]:
    schema = {"$ref": REF.format(model="Error")}
    return {"description": why, "content": {"application/json": {"schema": schema}}}
