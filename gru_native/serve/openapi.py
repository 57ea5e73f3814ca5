"""The description of all routes, as OpenAPI has it."""

from __future__ import annotations

from typing import Any

from gru_native import __version__
from gru_native.serve.batches import JSON, NPY, RAW

_ANSWERS = {
    "400": "The input is not what it should be",
    "401": "The token is missing or wrong",
    "403": "The token, or the page that sends this, may not do it; or the host is a name that others can own",
    "404": "There is no such session",
    "408": "The body did not come in time",
    "406": "The answer cannot be of the kind that is accepted",
    "409": "Another connection or server has the session, or the model cannot do this",
    "410": "The session is of other weights",
    "413": "The body, or the sequences, are too long",
    "415": "The body is of another kind",
    "426": "The request is not one for a WebSocket",
    "429": "As many sessions are kept as the limits allow",
    "503": "The server is going down, or has no room now",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PARAMETERS = [
    {"name": "frames", "in": "query", "schema": {"enum": ["binary", "json"], "default": "binary"}},
    {"name": "show", "in": "query", "schema": {"enum": ["outputs", "gates"], "default": "outputs"}},
]
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_DURABILITY = {
    "name": "durability",
    "in": "query",
    "description": "none, each, or a number of steps",
    "schema": {"type": "string"},
}


def document() -> dict[str, Any]:
    """Return the description."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "gru_native", "version": __version__},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/healthz": {"get": _open("Whether the process answers", {"200": "It does"})},
            "/readyz": {
                "get": _open(
                    "Whether sessions are taken", {"200": "They are", "503": "The server drains, or its store fails"}
                )
            },
            "/metrics": {"get": _open("Figures for Prometheus", {"200": "The figures"})},
            "/openapi.json": {"get": _open("This description", {"200": "It"})},
            "/v1/model": {"get": _described("What the model is", "200", JSON, "401", "403")},
            "/v1/predict": {"post": _predict()},
            "/v1/sessions": {"get": _stream("Begin a session (WebSocket)", [*_PARAMETERS, _DURABILITY], "429")},
            "/v1/sessions/{id}": {
                "get": _stream("Go on with a session (WebSocket)", [_ID, *_PARAMETERS], "404", "410"),
                "delete": {
                    **_described("End a session for good", "204", None, "401", "403", "404", "409", "503"),
                    "parameters": [_ID],
                },
            },
            "/admin/reload": {"post": _described("Read the model file again", "200", JSON, "401", "403", "409")},
        },
    }


def _open(summary: str, answers: dict[str, str]) -> dict[str, Any]:
    return {"summary": summary, "responses": {status: {"description": own} for status, own in answers.items()}}


def _described(summary: str, status: str, kind: str | None, *others: str) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done"}
    if kind is not None:
        done["content"] = {kind: {"schema": {"type": "object"}}}
    refused = {own: {"description": _ANSWERS[own]} for own in others}
    return {"summary": summary, "security": [{"token": []}, {}], "responses": {status: done, **refused}}


def _stream(summary: str, parameters: list[dict[str, Any]], *others: str) -> dict[str, Any]:
    found = _described(summary, "101", None, "400", "401", "403", "409", "426", "503", *others)
    return {**found, "parameters": parameters}


def _predict() -> dict[str, Any]:
    found = _described(
        "Compute a batch of whole sequences", "200", JSON, "400", "401", "403", "406", "408", "413", "415", "503"
    )
    found["responses"]["200"]["content"] |= {NPY: _BINARY, RAW: _BINARY}
    one_of = [
        {"type": "object", "required": [name], "properties": {name: {"type": kind}}}
        for name, kind in (("x", "array"), ("text", "array"), ("columns", "object"))
    ]
    body = {JSON: {"schema": {"oneOf": one_of}}, NPY: _BINARY, RAW: _BINARY}
    shape = {"in": "query", "name": "shape", "description": "Of raw numbers, such as 8,100,40; or the header X-Shape"}
    return {**found, "parameters": [{**shape, "schema": {"type": "string"}}], "requestBody": {"content": body}}
