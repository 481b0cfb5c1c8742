"""The API's reference: `/openapi.json`, and the same to read at `/docs`, without a script from anywhere."""

import json
from html import escape
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_DESCRIPTION = (
    "Send pictures as multipart/form-data. Where the service has a key, requests bear it in the header X-API-Key. "
    'Every error is {"error": "sentence"}: what is wrong, what was expected, and what to do.'
)


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of an application's routes."""
    description = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=_DESCRIPTION, routes=app.routes
    )
    for path in description["paths"].values():
        for operation in path.values():
            # Faults of a form are answered with 400 here, not FastAPI's 422.
            operation["responses"].pop("422", None)
            if "401" in operation["responses"]:
                operation["security"] = [{"key": []}, {}]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                description["components"]["schemas"] |= content["schema"].pop("$defs", {})
    components = description["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    return description


STYLE = Path(__file__).with_name("api_page.css")
"""What the page is shown with."""


def page(description: dict[str, Any]) -> str:
    """The description as a page of plain HTML."""
    operations = [
        _operation(method.upper(), path, operation, description)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="/page/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="/docs/style.css">'
        "</head><body><main>"
        f"<h1>{title}</h1><p>{escape(description['info']['summary'])}</p><p>{escape(_DESCRIPTION)}</p>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{''.join(operations)}</main></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], description: dict[str, Any]) -> str:
    answers = [
        f"<li><b>{status}</b> {escape(answer['description'])}{_fields(_schema(answer), description)}</li>"
        for status, answer in operation["responses"].items()
    ]
    asked = _schema(operation.get("requestBody", {}))
    body = "JSON" if "application/json" in operation.get("requestBody", {}).get("content", {}) else "Form fields"
    named = [_row(each["name"], each, each["required"]) for each in operation.get("parameters", ())]
    return (
        f"<section><h2><code>{method} {escape(path)}</code></h2><p>{escape(operation['description'])}</p>"
        f"{'<h3>In the address</h3><ul>' + ''.join(named) + '</ul>' if named else ''}"
        f"{f'<h3>{body}</h3>' + _fields(asked, description) if asked else ''}"
        f"<h3>Answers</h3><ul>{''.join(answers)}</ul></section>"
    )


def _schema(part: dict[str, Any]) -> dict[str, Any]:
    """Of a body or an answer, whatever its type."""
    for content in part.get("content", {}).values():
        schema: dict[str, Any] = content.get("schema", {})
        return schema
    return {}


def _fields(schema: dict[str, Any], description: dict[str, Any]) -> str:
    """A schema's fields as a list, with those of what they hold; errors, which are all alike, as nothing."""
    name = _name(schema)
    schema = description["components"]["schemas"].get(name, schema)
    if name == "Failure" or not schema.get("properties"):
        return ""
    rows = []
    for field, about in schema["properties"].items():
        inner = _fields({"$ref": _name(about)}, description)
        rows.append(_row(field, about, field in schema.get("required", ()), inner))
    return f"<ul>{''.join(rows)}</ul>"


def _row(name: str, about: dict[str, Any], needed: bool, inner: str = "") -> str:
    text = escape(about.get("description", ""))
    example = f" <code>{escape(json.dumps(about['examples'][0]))}</code>" if about.get("examples") else ""
    return f"<li><code>{escape(name)}</code>{'' if needed else ' (optional)'} {text}{example}{inner}</li>"


def _name(schema: dict[str, Any]) -> str:
    """Of the schema that this is, or is a list of, or is if it is not null; empty if that has no name."""
    for inner in (schema, schema.get("items", {}), *schema.get("anyOf", ())):
        if "$ref" in inner:
            return str(inner["$ref"]).rpartition("/")[2]
    return ""
