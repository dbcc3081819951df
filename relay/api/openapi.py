"""The machine-readable contract (OpenAPI 3.1), made from the declared endpoints and the structures they check with."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

import relay
from relay.api.calls import Calls
from relay.api.demo import Demo
from relay.api.devices import DeviceApi
from relay.api.endpoint import Empty, Endpoint
from relay.api.events import EventSockets
from relay.api.grants import GrantApi
from relay.api.hooks import HookApi
from relay.api.legs import LegApi
from relay.api.whip import endpoints
from relay.api.wxa import Wxa
from relay.errors import TEXTS

REFERENCE = "#/components/schemas/{name}"
DESCRIPTION = (
    "The call plane of the WMPF VoIP plugin as HTTP and WebSocket. Refusals are `{errCode, errMsg}`; the codes are the "
    "plugin's. Writes take an `Idempotency-Key`. 429 and 503 carry `Retry-After`."
)

PROBES = {  # for whoever runs the node; made in `app.py`
    "/healthz": ("The node is alive", "application/json"),
    "/readyz": ("The node takes calls; 503 while it does not", "application/json"),
    "/metrics": ("Counters for Prometheus", "text/plain"),
    "/openapi.json": ("This document", "application/json"),
}


class Refusal(msgspec.Struct, frozen=True):
    """Why a request was refused: the plugin's code, and a sentence."""

    errCode: int
    errMsg: str


def all_endpoints(*, demo: bool = False) -> tuple[Endpoint, ...]:
    """Every endpoint of a node."""
    return (
        *Calls.ENDPOINTS,
        *LegApi.ENDPOINTS,
        *EventSockets.ENDPOINTS,
        *DeviceApi.ENDPOINTS,
        *GrantApi.ENDPOINTS,
        *HookApi.ENDPOINTS,
        *endpoints("publisher"),
        *endpoints("player"),
        *Wxa.ENDPOINTS,
        *(Demo.ENDPOINTS if demo else ()),
    )


def document(*, demo: bool = False) -> dict[str, Any]:
    """The contract of a node."""
    declared = all_endpoints(demo=demo)
    shapes = [Refusal]
    for endpoint in declared:
        shapes += [shape for shape in (endpoint.body, endpoint.answer, endpoint.query) if _is_shape(shape)]
    unique = list(dict.fromkeys(shapes))
    schemas, components = msgspec.json.schema_components(unique, ref_template=REFERENCE)
    named = dict(zip(unique, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in declared:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, named, components)
    paths.update({path: _probe(path, *about) for path, about in PROBES.items()})
    return {
        "openapi": "3.1.0",
        "info": {"title": "relay", "version": relay.__version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "access_token": {"type": "apiKey", "in": "query", "name": "access_token"},
            },
        },
    }


def _probe(path: str, summary: str, content_type: str) -> dict[str, Any]:
    answer = {"description": "The answer", "content": {content_type: {}}}
    name = f"get_{path.strip('/').replace('.', '_')}"
    return {"get": {"summary": summary, "operationId": name, "tags": ["node"], "responses": {"200": answer}}}


def _operation(endpoint: Endpoint, named: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": _name(endpoint),
        "tags": [endpoint.tag],
        "parameters": list(_parameters(endpoint, components)),
        "responses": {str(endpoint.status): _answer(endpoint, named), "default": _refusals(endpoint, named)},
    }
    if endpoint.sdp:
        content: dict[str, Any] = {endpoint.sdp: {"schema": {"type": "string"}}}
        operation["requestBody"] = {"required": True, "content": content}
    elif endpoint.body is not Empty:
        content = {"application/json": {"schema": named[endpoint.body]}}
        operation["requestBody"] = {"required": not endpoint.optional, "content": content}
    if endpoint.wxa and endpoint.who is not None:
        operation["security"] = [{"access_token": []}]
    elif endpoint.who is not None or endpoint.sdp or endpoint.path in ("/v1/calls", "/v1/events"):
        operation["security"] = [{"bearer": []}]
    if endpoint.who is not None:
        operation["description"] = f"For: {', '.join(endpoint.who)}."
    return operation


def _parameters(endpoint: Endpoint, components: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", endpoint.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if endpoint.query is not Empty:
        schema = components[endpoint.query.__name__]
        for name, kind in schema["properties"].items():
            required = name in schema.get("required", ())
            yield {"name": name, "in": "query", "required": required, "schema": kind}


def _answer(endpoint: Endpoint, named: dict[Any, Any]) -> dict[str, Any]:
    if endpoint.sdp:
        return {"description": "The answer", "content": {endpoint.sdp: {"schema": {"type": "string"}}}}
    if endpoint.answer is None:
        return {"description": "Done"}
    schema = named.get(endpoint.answer, {"type": "object"})
    return {"description": "The answer", "content": {"application/json": {"schema": schema}}}


def _refusals(endpoint: Endpoint, named: dict[Any, Any]) -> dict[str, Any]:
    lines = [f"- {int(code)}: {TEXTS[code]}" for code in endpoint.codes]
    words = "\n".join(["Refused.", *(["", *lines] if lines else [])])
    return {"description": words, "content": {"application/json": {"schema": named[Refusal]}}}


def _name(endpoint: Endpoint) -> str:
    words = re.sub(r"[{}]", "", f"{endpoint.method.lower()}{endpoint.path}")
    return re.sub(r"\W+", "_", words).strip("_")


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, msgspec.Struct)
