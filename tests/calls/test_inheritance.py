"""A node that never comes back under its name: the next one on its store ends its calls and sends its messages."""

import asyncio
from pathlib import Path

from calls.scene import ANN, Scene
from relay.calls.webhooks import HookEntry


def test_another_node_inherits_calls_and_messages(tmp_path: Path) -> None:
    store = str(tmp_path / "calls.sqlite3")

    async def scene() -> None:
        first = Scene(store=store, node_name="pod-1", webhook_allow_private=True)
        await first.plane.start()
        await first.plane.webhooks.add(HookEntry("http://127.0.0.1:9/", ("call.*",)))
        room, _, _ = await first.talk()
        while first.plane.store.waiting:
            await asyncio.sleep(0.01)
        await first.plane.close()

        second = Scene(1100.0, store=store, node_name="pod-2", webhook_allow_private=True)
        await second.plane.start()
        view = await second.service.view(room, ANN)
        assert (view.state, view.end_reason) == ("SETTLED", "abort")
        names = [frame["eventName"] for frame in second.ear(ANN, 0).of(room)]
        assert names == ["abortVoip", "endVoip", "finishVoip"]
        left = await second.plane.store.run(
            lambda connection: connection.exec_driver_sql(
                "SELECT (SELECT count(*) FROM deliveries WHERE node = 'pod-1'), "
                "(SELECT count(*) FROM nodes WHERE node = 'pod-1'), (SELECT count(*) FROM calls WHERE live)"
            ).one()
        )
        assert tuple(left) == (0, 0, 0)
        await second.service.close()
        await second.plane.close()

    asyncio.run(scene())
