"""Lives of a call plane that are meant to be ended by kill -9; `python -m mortal FILE` serves them one by one.

Each line on stdin is a seed: a child is forked, with everything imported already, opens the store and makes calls as
fast as it can. What it says on stdout: `up ROOMS` when it has recovered that many, `made ROOM` when the making of a
call is acknowledged, and in the end, from its parent, `ended`.
"""

import asyncio
import os
import random
import sys

from calls.memory_media import MemoryMedia

from relay.api.app import CallPlane, plane
from relay.calls.call import Side
from relay.calls.invitation import Invitation, Party, Person
from relay.calls.webhooks import HookEntry
from relay.config import Config

NODE = "mortal"
PAIRS = 12
OFFER = "v=0\r\na=ice-ufrag:aaaa\r\n"


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # one write, whole or not at all


def mortal_plane(path: str) -> tuple[CallPlane, MemoryMedia]:
    """Nobody takes its messages: they stay in the outbox, where they can be counted."""
    media = MemoryMedia()
    config = Config(demo=True, store=f"sqlite:///{path}", webhook_allow_private=True, webhook_give_up_s=86_400)
    return plane(media, config, NODE), media


async def talk(base: CallPlane, media: MemoryMedia, room: str, device: Party, user: Party) -> None:
    service = base.calls
    caller = (await service.open_leg(room, Side.CALLER, OFFER))[0]
    media.say(caller.leg, "connected")
    service.answer(room, user)
    await asyncio.sleep(0)
    listener = (await service.open_leg(room, Side.LISTENER, OFFER))[0]
    media.say(listener.leg, "connected")


async def pair(base: CallPlane, media: MemoryMedia, number: int, chance: random.Random) -> None:
    """Call after call, each ended in one of the known ways or left as it is."""
    service = base.calls
    turn = 0
    while True:
        turn += 1
        device, user = Party("device", f"d{number}t{turn}"), Party("user", f"u{number}t{turn}")
        asked = Invitation("device_to_user", "video", Person(device.id), Person(user.id))
        room = (await service.create(asked)).room
        say("made", room)
        how = chance.randrange(5)
        if how == 0:
            service.hang_up(room, device)
        elif how == 1:
            service.reject(room, user)
        elif how >= 2:
            await talk(base, media, room, device, user)
            if how >= 3:
                await asyncio.sleep(0)
                service.hang_up(room, user)


async def live(path: str, seed: int) -> None:
    base, media = mortal_plane(path)
    left = await base.start()
    if not await base.webhooks.all():
        await base.webhooks.add(HookEntry("http://127.0.0.1:9/", ("call.*",)))
    say("up", left)
    chance = random.Random(seed)
    await asyncio.gather(*(pair(base, media, number, chance) for number in range(PAIRS)))


def main(path: str) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(live(path, int(line)))
            os._exit(1)
        say("born", child)
        os.waitpid(child, 0)
        say("ended")


if __name__ == "__main__":
    main(sys.argv[1])
