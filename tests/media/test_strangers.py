"""Datagrams from addresses that are in no call: nothing comes back, nothing changes, nobody loses a packet."""

import asyncio
import random
import socket
import struct
from collections.abc import Iterator

import uvloop
from quality import Witness
from test_two_peers import config, until

from relay.client.leg import Leg
from relay.client.sources import PatternTrack, ToneTrack
from relay.media.messages import MediaEvent
from relay.media.worker import Worker
from relay.protocol import stun

# : RFC 6347 ClientHello whose only cipher suite is TLS_NULL_WITH_NULL_NULL: a handshake that takes it never
# completes.
NULL_SUITE_HELLO = (
    bytes([22, 254, 255])
    + bytes(8)
    + struct.pack("!H", 12 + 42)
    + bytes([1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42])
    + bytes([254, 253])
    + bytes(range(32))
    + bytes([0, 0])
    + struct.pack("!H", 2)
    + bytes([0, 0])
    + bytes([1, 0])
)


def malformed(rng: random.Random, ufrag: str) -> Iterator[bytes]:
    """200 datagrams made by hand: each almost something the relay answers or accepts."""
    request = stun.binding_request(b"t" * 12, f"{ufrag}:them", "not the password at all")
    rtp = bytes([0x80, 111]) + bytes(10)
    for _ in range(20):
        yield request[: rng.randrange(1, len(request))]
        at = rng.randrange(len(request))
        yield request[:at] + bytes([request[at] ^ (1 << rng.randrange(8))]) + request[at + 1 :]
        yield request + rng.randbytes(rng.randrange(1, 1400))
        yield NULL_SUITE_HELLO[: rng.randrange(1, len(NULL_SUITE_HELLO))]
        yield bytes([rng.choice((20, 21, 22, 23, 63)), 254, 253]) + rng.randbytes(rng.randrange(0, 1400))
        yield rtp + rng.randbytes(rng.randrange(0, 1488))
        yield bytes([0x90, 111]) + bytes(10) + struct.pack("!HH", 0xBEDE, 0xFFFF) + rng.randbytes(60)
        yield bytes([0x81, rng.choice((200, 201, 203, 205, 206)), 0, 7]) + rng.randbytes(rng.randrange(0, 60))
        yield bytes([0x8F, 96]) + rng.randbytes(rng.randrange(0, 40))
        yield b"" if rng.random() < 0.5 else rng.randbytes(1)


async def answered(strangers: list[socket.socket]) -> int:
    total = 0
    for stranger in strangers:
        stranger.setblocking(False)
        try:
            while True:
                total += len(stranger.recv(65535))
        except BlockingIOError:
            continue
    return total


def test_twelve_hundred_bad_datagrams_get_nothing_and_cost_nothing() -> None:
    async def scene() -> None:
        worker = Worker(config(), 0)
        await worker.start()
        strangers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(10)]
        witnesses = [Witness(PatternTrack(320, 240, 20)) for _ in range(2)]
        legs = [Leg([ToneTrack()], video=False, on_frame=w) for w in witnesses]
        answers: list[str] = []
        try:
            for name, leg in zip("ab", legs, strict=True):

                async def exchange(offer: str, name: str = name) -> str:
                    answers.append(await worker.open_leg("room", name, offer, live=True))
                    return answers[-1]

                await leg.connect(exchange)
            await until(lambda: all(len(w.samples) > 20 for w in witnesses))
            ufrag = next(line for line in answers[0].splitlines() if line.startswith("a=ice-ufrag:"))[12:]
            rng = random.Random(20)
            noise = [rng.randbytes(rng.randrange(0, 1472)) for _ in range(1000)]
            datagrams = [*noise, *malformed(rng, ufrag)]
            assert len(datagrams) == 1200
            before = await worker.counters()
            for number, datagram in enumerate(datagrams):
                strangers[number % 10].sendto(datagram, ("127.0.0.1", worker.port))
                if number % 50 == 0:
                    await asyncio.sleep(0.02)
            heard = [len(w.samples) for w in witnesses]
            await until(lambda: all(len(w.samples) > n + 50 for w, n in zip(witnesses, heard, strict=True)))
            assert await answered(strangers) == 0
            after = await worker.counters()
            dropped = {k: after["drops"][k] - before["drops"][k] for k in after["drops"]}
            assert sum(dropped.values()) + after["stun_in"] - before["stun_in"] >= 1200
            assert dropped["slow_full"] == 0
            for stream in (s for leg in (await worker.stats("room"))["legs"] for s in leg["streams"]):
                assert stream["lost"] == 0
            for route in (await worker.stats("room"))["routes"]:
                assert route["lost"] == 0
        finally:
            for leg in legs:
                await leg.close()
            for stranger in strangers:
                stranger.close()
            await worker.stop()

    uvloop.run(scene())


def test_a_foreign_client_hello_never_wins_the_race() -> None:
    async def scene() -> None:
        worker = Worker(config(), 0)
        await worker.start()
        strangers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
        events: list[MediaEvent] = []
        worker.subscribe(events.append)
        legs = [Leg([ToneTrack()], video=False) for _ in range(10)]
        racing = True

        async def race() -> None:
            while racing:
                for stranger in strangers:
                    stranger.sendto(NULL_SUITE_HELLO, ("127.0.0.1", worker.port))
                await asyncio.sleep(0.02)

        racer = asyncio.create_task(race())
        try:
            for number, leg in enumerate(legs):

                async def exchange(offer: str, number: int = number) -> str:
                    return await worker.open_leg(f"room{number}", f"leg{number}", offer, live=True)

                await leg.connect(exchange)
            await until(lambda: len(events) == 10)
            assert {e.state for e in events} == {"connected"}
            racing = False
            await racer
            assert await answered(strangers) == 0
            counters = await worker.counters()
            assert counters["drops"]["dtls_unvalidated"] >= 20
        finally:
            racing = False
            await racer
            for leg in legs:
                await leg.close()
            for stranger in strangers:
                stranger.close()
            await worker.stop()

    uvloop.run(scene())
