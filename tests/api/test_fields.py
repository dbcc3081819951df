"""Each field of each request body: left out, null, of another type, too long. Generated from the structures themselves.

A refusal is 1004, or a code that the endpoint documents; nothing wrong is let through and nothing makes a 500.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import msgspec.inspect as inspect
import pytest

from api.estate import Estate, on_estate
from api.samples import BODIES, WIDE, Samples, assert_refused, label
from relay.api.endpoint import Endpoint

LONG = "x" * 6_000
HUGE = 2**70


def wrong_values(kind: inspect.Type) -> Iterator[Any]:
    """JSON values that are none of this type."""
    if isinstance(kind, inspect.UnionType):
        mixed: tuple[Any, ...] = (7.5, "x\u0000y", [[]], {"a": 1}, True)
        yield from (value for value in mixed if not any(fits(value, option) for option in kind.types))
        for option in kind.types:
            if not isinstance(option, inspect.NoneType):
                yield from (value for value in too_much(option) if not any(fits(value, other) for other in kind.types))
        return
    plain: tuple[Any, ...] = (7, 7.5, "x\u0000y", True, [], {}, ["x"], {"a": 1})
    yield from (value for value in plain if not fits(value, kind))
    yield from too_much(kind)


def too_much(kind: inspect.Type) -> Iterator[Any]:
    match kind:
        case inspect.StrType() | inspect.LiteralType():
            yield LONG
        case inspect.IntType():
            yield from (-1, HUGE)
        case inspect.FloatType():
            yield from (-1, 0, 1e300)
        case inspect.VarTupleType() | inspect.ListType():
            yield ["x"] * 2_000
            yield [LONG]
            yield from ([value] for value in wrong_values(kind.item_type))


def fits(value: Any, kind: inspect.Type) -> bool:
    """May this value be what is meant? Then it is no test of anything."""
    match kind:
        case inspect.StrType():
            return isinstance(value, str) and re.search(kind.pattern or "", value) is not None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.LiteralType():
            return any(value == known and type(value) is type(known) for known in kind.values)
        case inspect.VarTupleType() | inspect.ListType():
            return isinstance(value, list) and all(fits(one, bare(kind.item_type)) for one in value)
        case inspect.UnionType():
            return any(fits(value, option) for option in kind.types)
    return False


def nullable(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(isinstance(option, inspect.NoneType) for option in kind.types)
    return isinstance(kind, inspect.NoneType)


def bare(kind: inspect.Type) -> inspect.Type:
    """Without annotations, and a union with None as what it else is."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        rest = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
        if len(rest) == 1:
            return bare(rest[0])
    return kind


def broken(shape: Any, sample: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The sample with one field broken, in every way, and what was done."""
    info = inspect.type_info(shape)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        name, where = field.encode_name, f"{path}{field.encode_name}"
        rest = {key: value for key, value in sample.items() if key != name}
        if field.required:
            yield f"{where} left out", rest
        if not nullable(field.type):
            yield f"{where} null", {**rest, name: None}
        for value in wrong_values(bare(field.type)):
            yield f"{where} = {str(value)[:30]}", {**rest, name: value}
        inner = bare(field.type)
        if isinstance(inner, inspect.StructType):
            for what, nested in broken(inner.cls, dict(sample.get(name) or {"id": "ann"}), f"{where}."):
                yield what, {**rest, name: nested}
        if isinstance(inner, inspect.VarTupleType) and isinstance(bare(inner.item_type), inspect.StructType):
            item = bare(inner.item_type)
            assert isinstance(item, inspect.StructType)
            for what, nested in broken(item.cls, dict((sample.get(name) or [{"id": "ann"}])[0]), f"{where}[]."):
                yield what, {**rest, name: [nested]}


@pytest.mark.parametrize("endpoint", BODIES, ids=label)
def test_each_field_of_the_body(endpoint: Endpoint) -> None:
    async def scene(estate: Estate) -> None:
        samples = Samples(estate)
        await samples.set_up()
        allowed = {1004, *endpoint.codes}
        if endpoint.wxa:  # they answer with the codes of what they stand for
            allowed |= {2, 7, 9800001, 9800002, 9800012, 9800013}
        let_through: list[str] = []
        count = 0
        for what, body in broken(endpoint.body, samples.body(endpoint)):
            count += 1
            answer = await samples.ask(endpoint, json=body)
            if answer[0] < 300 and not (endpoint.wxa and answer[1]["errcode"]):
                let_through.append(what)
                continue
            assert_refused(answer, endpoint, what, *allowed)
        assert not let_through
        assert count > 2

    on_estate(scene, **WIDE)


@pytest.mark.parametrize("endpoint", BODIES, ids=label)
def test_the_sample_itself_is_right_in_shape(endpoint: Endpoint) -> None:
    """Else the sweep above would prove nothing."""

    async def scene(estate: Estate) -> None:
        samples = Samples(estate)
        await samples.set_up()
        status, body = await samples.ask(endpoint)
        code = body.get("errcode", 0) if endpoint.wxa else body.get("errCode", 0)
        assert status < 500
        assert code != 1004, body
        msgspec.convert(samples.body(endpoint), endpoint.body)

    on_estate(scene, webhook_allow_private=True)
