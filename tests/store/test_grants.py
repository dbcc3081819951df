"""Grants on record: every step of their life, and decisions that two nodes take at the same time."""

import asyncio
from typing import Literal

import pytest

from relay.calls.grants import GrantRequest, GrantView
from relay.calls.groups import GroupEntry, Member, MemberChange
from relay.errors import ApiError
from store.databases import NOW_MS, Database, Parts, play, play_two

Decision = Literal["ask", "agree", "refuse"]


async def ask(node: Parts, openid: str = "ann", decision: Decision = "agree", now_ms: int = NOW_MS) -> GrantView:
    ticket = await node.tickets.issue("door", "m1", now_ms)
    asked = GrantRequest(sn="door", sn_ticket=ticket, model_id="m1", device_name="Door", decision=decision)
    return await node.grants.request(openid, asked, now_ms)


def code(fault: pytest.ExceptionInfo[ApiError]) -> tuple[int, int]:
    return fault.value.status, fault.value.code


async def states(node: Parts) -> list[tuple[str, str]]:
    return [(grant.openid, grant.state) for grant in await node.grants.of_device("door")]


def test_the_life_of_a_grant(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.model(name="Bell")
        await node.device("door")
        question = await ask(node, decision="ask")
        assert (question.grant_id, question.state, question.name) == (None, None, "Door Bell")
        given = await ask(node)
        assert (given.status, given.state) == (1, "agreed")
        assert given.grant_id is not None
        with pytest.raises(ApiError) as fault:
            await ask(node)
        assert code(fault) == (409, 10001)
        assert (await node.grants.revoke(given.grant_id, None, NOW_MS)).state == "revoked"
        assert (await ask(node)).grant_id == given.grant_id, "with a new ticket the user may agree again"
        assert (await node.grants.revoke(given.grant_id, "ann", NOW_MS)).state == "refused"
        with pytest.raises(ApiError) as fault:
            await ask(node)
        assert code(fault) == (403, 10021)
        assert (await node.grants.revoke(given.grant_id, None, NOW_MS)).state == "refused", "a refusal stays one"
        assert (await node.grants.reopen(given.grant_id, "ann", NOW_MS)).state == "reopened"
        assert await node.grants.of_user("ann") == [], "no decision is no entry"
        assert (await ask(node, decision="refuse")).state == "refused"
        with pytest.raises(ApiError) as fault:
            await node.grants.reopen(given.grant_id, "ann", NOW_MS + 1000)
        assert code(fault) == (429, 45009)
        assert (await node.grants.reopen(given.grant_id, "ann", NOW_MS + 60_000)).state == "reopened"
        assert (await ask(node)).state == "agreed"
        assert await states(node) == [("ann", "agreed")]

    play(database, scene)


def test_a_grant_belongs_to_its_user(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        given = await ask(node)
        assert given.grant_id is not None
        for attempt in (
            node.grants.revoke(given.grant_id, "bob", NOW_MS),
            node.grants.reopen(given.grant_id, "bob", NOW_MS),
            node.grants.revoke("nothing", None, NOW_MS),
        ):
            with pytest.raises(ApiError) as fault:
                await attempt
            assert code(fault) == (404, 9)
        assert await node.grants.of_user("bob") == []
        contacts = await node.grants.contacts("door", "m1", ("ann", "bob"))
        assert [(contact.openid, contact.status) for contact in contacts] == [("ann", 1), ("bob", 0)]

    play(database, scene)


def test_two_nodes_agree_at_once_and_there_is_one_grant(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        await one.device("door")
        for number in range(15):
            openid = f"u{number}"
            outcomes = await asyncio.gather(
                *(ask(node, openid) for node in (one, other, one, other)), return_exceptions=True
            )
            given = [outcome for outcome in outcomes if isinstance(outcome, GrantView)]
            faults = [outcome.code for outcome in outcomes if isinstance(outcome, ApiError)]
            assert [view.state for view in given] == ["agreed"]
            assert faults == [10001] * 3
        assert database.value("SELECT count(*) FROM grants") == 15

    play_two(database, scene, store_wait_s=20)


def test_a_refusal_and_an_agreement_at_once_are_not_both_taken(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        await one.device("door")
        for number in range(15):
            openid = f"u{number}"
            outcomes = await asyncio.gather(
                ask(one, openid, "agree"), ask(other, openid, "refuse"), return_exceptions=True
            )
            given = [outcome for outcome in outcomes if isinstance(outcome, GrantView)]
            faults = [outcome.code for outcome in outcomes if isinstance(outcome, ApiError)]
            assert len(given) == len(faults) == 1
            assert faults == ([10001] if given[0].state == "agreed" else [10021])
            assert (openid, given[0].state) in await states(one)

    play_two(database, scene, store_wait_s=20)


def test_a_reopened_grant_is_decided_once(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        await one.device("door")
        for number in range(15):
            openid = f"u{number}"
            refused = await ask(one, openid, "refuse")
            assert refused.grant_id is not None
            await one.grants.reopen(refused.grant_id, openid, NOW_MS)
            outcomes = await asyncio.gather(
                ask(one, openid, "agree"), ask(other, openid, "refuse"), return_exceptions=True
            )
            given = [outcome for outcome in outcomes if isinstance(outcome, GrantView)]
            assert len(given) == 1, "of two decisions at once the second sees the first"
            assert (openid, given[0].state) in await states(other)

    play_two(database, scene, store_wait_s=20)


def test_the_ticket_of_a_request_that_was_refused_is_still_good(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        await ask(node, "ann")
        ticket = await node.tickets.issue("door", "m1", NOW_MS)
        asked = GrantRequest(sn="door", sn_ticket=ticket, model_id="m1")
        with pytest.raises(ApiError):
            await node.grants.request("ann", asked, NOW_MS)
        assert (await node.grants.request("bob", asked, NOW_MS)).state == "agreed"

    play(database, scene)


def test_a_grant_for_a_group_holds_while_the_device_is_in_it(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        old = await node.groups.create(GroupEntry("Old house", "m1"), NOW_MS)
        new = await node.groups.create(GroupEntry("New house", "m1"), NOW_MS)
        await node.groups.add(old.group_id, MemberChange((Member("door"),)))
        given = await node.grants.request("ann", GrantRequest(is_group=True, group_id=old.group_id), NOW_MS)
        assert given.name == "Old house"
        assert (await node.grants.of_user("ann"))[0].group_id == old.group_id
        assert await states(node) == [("ann", "agreed")]
        await node.groups.add(new.group_id, MemberChange((Member("door"),), force_add=True))
        assert await states(node) == []
        await node.devices.remove("door")
        assert len(await node.grants.of_user("ann")) == 1, "the group's grant is not the device's"

    play(database, scene)


def test_a_device_that_is_forgotten_takes_its_grants_with_it(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("door")
        await ask(node)
        await node.devices.remove("door")
        await node.device("door")
        assert await states(node) == []
        assert (await ask(node)).state == "agreed"

    play(database, scene)


def test_models_that_are_not_approved_cannot_be_asked_for(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.model(approved=False)
        await node.device("door")
        with pytest.raises(ApiError) as fault:
            await ask(node)
        assert code(fault) == (403, -12001)

    play(database, scene)
