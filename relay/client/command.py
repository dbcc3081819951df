"""`relay device`: a device in a terminal, for trying out calls without hardware."""

import argparse
import asyncio
import contextlib
import sys
from typing import Any

import uvloop
from aiortc.exceptions import InvalidStateError

from relay.client import errands, options
from relay.client.controls import Controls
from relay.client.device import Device
from relay.client.http import SignallingError, base_url
from relay.client.live import Live
from relay.client.options import UsageError
from relay.client.outcome import Exit, Outcome
from relay.client.recorder import Recorder, RecorderError
from relay.client.sources import Media, SourceError
from relay.client.state import StateError

ONCE_PATIENCE_S = 30.0  # a device with a single call to make does not outwait a relay that is gone


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the `device` command; `run` is its function, as `args.run`."""
    options.add_parser(subparsers).set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    media = Media(path=args.media, camera=args.camera)
    try:
        options.check(args)
        media.check()
        if args.save:
            Recorder.check(args.save)
        secret = options.secret(args)
    except (UsageError, SourceError, RecorderError) as fault:
        return _fail(Exit.USAGE, str(fault))
    return uvloop.run(_main(args, media, secret))


async def _main(args: argparse.Namespace, media: Media, secret: str | None) -> int:
    asyncio.get_running_loop().set_exception_handler(_on_loop_fault)
    device = Device(
        args.sn,
        args.url,
        args.token,
        secret=secret,
        state=args.state,
        model_id=args.model_id,
        name=args.name,
        media=media,
        answer=args.answer,
        save=args.save,
        video_codec=args.video_codec,
        audio_codec=args.audio_codec,
        patience_s=ONCE_PATIENCE_S if args.once or args.call else None,
    )
    controls = Controls(device)
    live = Live(device)

    def show(changed: Device) -> None:
        if line := _phase_line(changed, manual=args.answer == "manual"):
            live.say(line)

    device.on_change = show
    device.on_message = lambda text: live.say(f"message: {text}")
    with controls.signals():
        session = asyncio.ensure_future(_session(device, args, live))
        stopping = asyncio.ensure_future(controls.stop.wait())
        async with controls.keyboard(wanted=args.answer == "manual" or sys.stdin.isatty()):
            await asyncio.wait({session, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        told = device.last
        try:
            if session.done():
                session.result()
            else:
                # Ctrl-C or q: what runs is hung up properly, and its end is still told.
                with contextlib.suppress(SignallingError):
                    await device.hang_up()
                session.cancel()
                await asyncio.gather(session, return_exceptions=True)
                if device.last is not None and device.last is not told:
                    _tell_end(device, live, device.last)
        except SignallingError as fault:
            return _fail(Exit.RELAY, str(fault), fault.advice)
        except (SourceError, StateError) as fault:
            return _fail(Exit.USAGE, str(fault))
        finally:
            await controls.close()
            await device.close()
        return int(device.last.exit if device.last is not None else Exit.COMPLETED)


async def _session(device: Device, args: argparse.Namespace, live: Live) -> None:
    """What was asked for, then calls one after the other until there is nothing more to do."""
    if await errands.run(device, args, live.say) and not (args.call or args.once):
        return
    await device.start()
    live.say(f"device {args.sn} is online at {base_url(args.url)} (Ctrl-C ends)")
    line = asyncio.ensure_future(live.run())
    limit = asyncio.ensure_future(_limit(device, args.duration)) if args.duration else None
    try:
        if args.call:
            outcome = await device.call(
                args.call,
                voice=args.voice,
                strategy=args.strategy,
                ring_timeout_s=args.ring_timeout,
                time_limit_s=args.time_limit,
                camera=not args.camera_off,
                query=args.query,
            )
            _tell_end(device, live, outcome)
            return
        while True:
            _tell_end(device, live, await device.outcome())
            if args.once:
                return
    finally:
        for task in (line, limit):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in (line, limit) if task), return_exceptions=True)


async def _limit(device: Device, duration_s: float) -> None:
    """Hang up every call once it has lasted `duration_s`."""
    while True:
        await asyncio.sleep(min(0.1, duration_s))
        if device.phase == "talking" and device.talked_s >= duration_s:
            with contextlib.suppress(SignallingError):
                await device.hang_up()


def _phase_line(device: Device, *, manual: bool) -> str:
    match device.phase:
        case "ringing" if device.incoming is not None:
            ring = device.incoming
            kind = "voice" if ring.voice else "video"
            camera = "" if ring.voice or ring.caller_camera else ", camera off"
            query = f", query {ring.query}" if ring.query else ""
            keys = "  [a]nswer [r]eject [b]usy" if manual else ""
            return f"ringing: {kind} call from {ring.caller_name}{camera}{query}{keys}"
        case "calling":
            return f"calling {device.peer_name}"
        case "joining":
            return f"answered, connecting to {device.peer_name}"
        case "talking":
            return f"talking with {device.peer_name}"
        case _:
            return ""  # the end of a call is told with its outcome


def _tell_end(device: Device, live: Live, outcome: Outcome) -> None:
    for note in device.notes:
        live.say(f"note: {note}")
    device.notes.clear()
    peer = f" with {outcome.peer}" if outcome.peer else ""
    status = "" if outcome.exit is Exit.COMPLETED else f" (status {outcome.exit.value}: {outcome.exit.words})"
    live.say(f"call{peer} ended: {outcome.words}; talked {outcome.keep_s:.0f} s{status}")


def _on_loop_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """aiortc leaves a task behind when a connection is closed while it comes up; that is no news to anybody."""
    if not isinstance(context.get("exception"), InvalidStateError):
        loop.default_exception_handler(context)


def _fail(status: Exit, text: str, advice: str = "") -> int:
    print(f"relay device: {text} (status {status.value}: {status.words})", file=sys.stderr)
    if advice:
        print(f"what to do: {advice}", file=sys.stderr)
    return int(status)
