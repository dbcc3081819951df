"""`/openapi.json` is valid OpenAPI 3.1, has every route of the node, and describes what the node takes and says."""

import json
import re
from typing import Any

import pytest
from aiohttp import web
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.estate import Estate, on_estate
from api.plane import Plane, play
from api.samples import BODIES, ENDPOINTS, Samples, label
from relay.api.endpoint import Endpoint
from relay.api.openapi import document
from relay.errors import TEXTS


def routes(app: web.Application) -> set[tuple[str, str]]:
    return {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


def check(schema: dict[str, Any], value: Any, whole: dict[str, Any]) -> list[str]:
    """What is wrong with a value, by the schema of a document."""
    rooted = {**schema, "components": whole["components"]}
    return [error.message for error in OAS31Validator(rooted).iter_errors(value)]


@pytest.mark.parametrize("demo", [True, False])
def test_it_is_valid(demo: bool) -> None:
    made = json.loads(json.dumps(document(demo=demo)))
    assert [str(error) for error in OpenAPIV31SpecValidator(made).iter_errors()] == []
    assert made["openapi"] == "3.1.0"


@pytest.mark.parametrize("demo", [True, False])
def test_every_route_is_in_it_and_no_other(demo: bool) -> None:
    async def scene(plane: Plane) -> None:
        status, served = await plane.ask("GET", "/openapi.json")
        assert status == 200
        described = {(method, path) for path, operations in served["paths"].items() for method in operations}
        known = {(method, path) for method, path in routes(plane.app) if not path.startswith("/{")}  # demo pages
        assert described == known

    play(scene, demo=demo)


def test_names_are_unique_and_every_operation_says_what_it_is_for() -> None:
    operations = [operation for path in document(demo=True)["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in (name.lower() for name in names))
    assert all(operation["summary"] and operation["tags"] for operation in operations)


def test_documented_codes_have_a_text() -> None:
    for endpoint in ENDPOINTS:
        assert set(endpoint.codes) <= set(TEXTS), label(endpoint)


def test_who_needs_a_token_says_so() -> None:
    paths = document()["paths"]
    for endpoint in ENDPOINTS:
        operation = paths[endpoint.path][endpoint.method.lower()]
        if endpoint.who is not None:
            assert operation["security"] == [{"access_token" if endpoint.wxa else "bearer": []}], label(endpoint)


@pytest.mark.parametrize("endpoint", BODIES, ids=label)
def test_what_is_taken_is_described(endpoint: Endpoint) -> None:
    async def scene(estate: Estate) -> None:
        samples = Samples(estate)
        await samples.set_up()
        whole = document()
        operation = whole["paths"][endpoint.path][endpoint.method.lower()]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert operation["requestBody"]["required"] is not endpoint.optional
        assert check(schema, samples.body(endpoint), whole) == []
        assert check(schema, 7, whole) != []

    on_estate(scene)


def test_what_is_answered_is_described() -> None:
    """Real answers, those of refusals too."""

    async def scene(estate: Estate) -> None:
        samples = Samples(estate)
        await samples.set_up()
        whole = document()
        looked_at = 0
        for endpoint in ENDPOINTS:
            if endpoint.answer is None or endpoint.path in ("/v1/calls/{room}/stats",):
                continue
            status, body = await samples.ask(endpoint)
            responses = whole["paths"][endpoint.path][endpoint.method.lower()]["responses"]
            described = responses.get(str(status), responses["default"])
            if endpoint.wxa and body.get("errcode"):
                continue  # a refusal there has no other fields
            schema = described["content"]["application/json"]["schema"]
            assert check(schema, body, whole) == [], (label(endpoint), body)
            looked_at += 1
        assert looked_at > 30

    on_estate(scene, webhook_allow_private=True)
