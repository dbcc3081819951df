"""One WHIP publisher and five WHEP players over HTTP: every player decodes the publisher's pictures and sound."""

import asyncio
from collections.abc import Callable

import aiohttp
import uvloop
from running import Node

from relay.client.leg import Leg
from relay.client.sources import PatternTrack, ToneTrack

PLAYERS = 5


async def _offer(http: aiohttp.ClientSession, url: str, token: str, offer: str) -> tuple[str, str]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
    async with http.post(url, data=offer, headers=headers) as response:
        answer = await response.text()
        assert response.status == 201, answer
        assert response.headers["Content-Type"].startswith("application/sdp")
        return answer, response.headers["Location"]


def test_one_publisher_reaches_five_players(start_node: Callable[..., Node]) -> None:
    node = start_node("--workers", "1")

    async def scene() -> None:
        legs: list[Leg] = []
        locations: list[str] = []
        async with aiohttp.ClientSession() as http:
            tokens = {}
            for role in ("publisher", "player"):
                async with http.post(f"{node.url}/demo/token", json={"kind": role, "id": "garden"}) as response:
                    tokens[role] = (await response.json())["token"]

            async def join(leg: Leg, path: str, token: str) -> None:
                legs.append(leg)

                async def exchange(offer: str) -> str:
                    answer, location = await _offer(http, node.url + path, token, offer)
                    locations.append(location)
                    return answer

                await leg.connect(exchange)

            try:
                publisher = Leg([PatternTrack(320, 240, 20), ToneTrack()], video=True)
                await join(publisher, "/whip/garden", tokens["publisher"])
                players = [Leg([], video=True) for _ in range(PLAYERS)]
                for player in players:
                    await join(player, "/whep/garden", tokens["player"])
                async with asyncio.timeout(20):
                    while not all([(s := await p.stats()).video_frames > 20 and s.audio_frames > 20 for p in players]):
                        await asyncio.sleep(0.1)
                # The publisher leaves: the resource is gone, and so is the room for the next player.
                headers = {"Authorization": f"Bearer {tokens['publisher']}"}
                async with http.delete(node.url + locations[0], headers=headers) as response:
                    assert response.status == 200
                async with http.delete(node.url + locations[0], headers=headers) as response:
                    assert response.status == 404
            finally:
                for leg in legs:
                    await leg.close()

    uvloop.run(scene())
