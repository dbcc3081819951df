"""Groups on record: limits and moves, also when two nodes change them at the same time."""

import asyncio

import pytest

from relay.calls.groups import GroupEntry, GroupView, Member, MemberChange
from relay.errors import ApiError
from store.databases import NOW_MS, Database, Parts, play, play_two


def change(*sns: str, force: bool = False) -> MemberChange:
    return MemberChange(tuple(Member(sn) for sn in sns), force)


async def group(node: Parts, name: str = "House", size: int | None = None) -> str:
    made = await node.groups.create(GroupEntry(name, "m1"), NOW_MS)
    if size is not None:
        await node.groups.resize(made.group_id, size)
    return made.group_id


def members(view: GroupView) -> list[str]:
    return [member.sn for member in view.device_list]


async def refused(attempt: "asyncio.Future[GroupView] | object") -> tuple[int, int]:
    with pytest.raises(ApiError) as fault:
        await attempt  # type: ignore[misc]
    return fault.value.status, fault.value.code


def test_a_device_of_another_model_leaves_its_group(database: Database) -> None:
    async def scene(node: Parts) -> None:
        await node.device("a")
        house = await group(node)
        await node.groups.add(house, change("a"))
        await node.device("a", name="renamed")
        assert members(await node.groups.view(house)) == ["a"]
        await node.device("a", "m2")
        assert members(await node.groups.view(house)) == []

    play(database, scene)


def test_members_come_and_go(database: Database) -> None:
    async def scene(node: Parts) -> None:
        for sn in ("a", "b", "c"):
            await node.device(sn)
        await node.device("other", "m2")
        house, yard = await group(node), await group(node, "Yard")
        assert members(await node.groups.add(house, change("b", "a"))) == ["a", "b"]
        assert await refused(node.groups.add(house, change("c", "nobody"))) == (404, 9800004)
        assert await refused(node.groups.add(house, change("c", "other"))) == (400, 9800014)
        assert await refused(node.groups.add(house, change("c", "a"))) == (409, 9800015)
        assert await refused(node.groups.add(yard, change("c", "a"))) == (409, 9800018)
        assert members(await node.groups.view(house)) == ["a", "b"], "all or nothing"
        assert members(await node.groups.add(yard, change("c", "a", force=True))) == ["a", "c"]
        assert members(await node.groups.view(house)) == ["b"]
        assert await refused(node.groups.take_out(house, change("b", "a"))) == (404, 9800017)
        assert members(await node.groups.take_out(yard, change("a"))) == ["c"]
        assert await refused(node.groups.view("nothing")) == (404, 9800013)
        assert await refused(node.groups.add("nothing", change("a"))) == (404, 9800013)

    play(database, scene)


def test_limits(database: Database) -> None:
    async def scene(node: Parts) -> None:
        for number in range(4):
            await node.device(f"d{number}")
        house = await group(node)
        assert await refused(node.groups.add(house, change("d0", "d1", "d2"))) == (409, 9800016)
        assert members(await node.groups.add(house, change("d0", "d1"))) == ["d0", "d1"]
        await node.groups.resize(house, 3)
        assert len(members(await node.groups.add(house, change("d2")))) == 3
        await node.groups.resize(house, 1)
        assert len(members(await node.groups.view(house))) == 3, "those in it stay"
        assert await refused(node.groups.add(house, change("d3"))) == (409, 9800016)
        await group(node)
        assert await refused(node.groups.create(GroupEntry("x", "m1"), NOW_MS)) == (429, 9800044)
        for name in ("", "ü" * 17):
            assert await refused(node.groups.create(GroupEntry(name, "m1"), NOW_MS)) == (400, 9800012)

    play(database, scene, group_devices=2, max_groups=2)


def test_two_nodes_take_the_last_place_at_once(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        for turn in range(10):
            house = await group(one, f"House {turn}", 3)
            for number in range(8):
                await one.device(f"t{turn}d{number}")
            outcomes = await asyncio.gather(
                *((one, other)[number % 2].groups.add(house, change(f"t{turn}d{number}")) for number in range(8)),
                return_exceptions=True,
            )
            faults = [outcome.code for outcome in outcomes if isinstance(outcome, ApiError)]
            assert faults == [9800016] * 5
            assert len(members(await other.groups.view(house))) == 3

    play_two(database, scene, store_wait_s=20)


def test_two_nodes_want_the_same_device_at_once(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        for turn in range(15):
            sn = f"d{turn}"
            await one.device(sn)
            house, yard = await group(one, f"House {turn}"), await group(one, f"Yard {turn}")
            outcomes = await asyncio.gather(
                one.groups.add(house, change(sn)), other.groups.add(yard, change(sn)), return_exceptions=True
            )
            won = [outcome for outcome in outcomes if isinstance(outcome, GroupView)]
            faults = [outcome.code for outcome in outcomes if isinstance(outcome, ApiError)]
            assert (len(won), faults) == (1, [9800018])
            assert members(await one.groups.view(won[0].group_id)) == [sn], "who was told yes has it"

    play_two(database, scene, store_wait_s=20)


def test_forced_moves_in_both_directions_at_once_keep_every_device_in_one_group(database: Database) -> None:
    async def scene(one: Parts, other: Parts) -> None:
        house, yard = await group(one, "House"), await group(one, "Yard")
        sns = [f"d{number}" for number in range(12)]
        for sn in sns:
            await one.device(sn)
        await one.groups.add(house, change(*sns[:6]))
        await one.groups.add(yard, change(*sns[6:]))
        for _ in range(6):
            outcomes = await asyncio.gather(
                *(
                    node.groups.add(to, change(*order, force=True))
                    for node, to, order in ((one, house, sns[6:]), (other, yard, sns[:6][::-1]))
                ),
                return_exceptions=True,
            )
            assert all(isinstance(outcome, GroupView | ApiError) for outcome in outcomes), outcomes
            both = members(await one.groups.view(house)) + members(await other.groups.view(yard))
            assert sorted(both) == sorted(sns)
            house, yard = yard, house
            sns = members(await one.groups.view(yard)) + members(await one.groups.view(house))
            if len(members(await one.groups.view(house))) != 6:
                break  # nothing is left to move

    play_two(database, scene, store_wait_s=20)
