"""`relay device`: a device in a terminal, for trying out calls without hardware."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvloop
from aiortc.exceptions import InvalidStateError

from relay.client.device import Device
from relay.client.leg import AUDIO_CODECS, VIDEO_CODECS
from relay.client.live import Live
from relay.client.outcome import Exit, Outcome
from relay.client.recorder import Recorder, RecorderError
from relay.client.signalling import SignallingError, base_url
from relay.client.sources import Media, SourceError

ONCE_PATIENCE_S = 30.0  # a device with a single call to make does not outwait a relay that is gone

_EPILOG = (
    """examples:
  relay device --sn SN-1                                      wait for calls, answer them with a test pattern
  relay device --sn SN-1 --call alice --duration 10           call alice, talk for ten seconds, hang up
  relay device --sn SN-1 --media film.mp4 --save got.mkv      send a film in a loop, record what comes back
  relay device --sn SN-1 --camera /dev/video0 --answer manual ring, then: a answers, r rejects
  relay device --sn SN-1 --call alice --voice --audio-codec PCMA

keys: a answer, r reject, h hang up, q quit. Ctrl-C hangs up and quits.

exit status:
"""
    + "\n".join(f"  {status.value}  {status.words}" for status in Exit)
    + "\nWithout --once and --call the status is that of the last call."
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the `device` command; `run` is its function, as `args.run`."""
    parser = subparsers.add_parser(
        "device",
        help="be a device: take and make calls from a terminal",
        description="Be a device: take calls and make them. A relay in demo mode asks for no token.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sn", required=True, help="serial number of this device")
    parser.add_argument("--url", default="http://127.0.0.1:8080", type=_url, help="the relay (default: %(default)s)")
    parser.add_argument("--token", help="device token; by default a relay in demo mode is asked for one")
    parser.add_argument("--name", default="", help="name shown to the other side")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--media", metavar="FILE", help="send this file in a loop instead of the test pattern")
    source.add_argument("--camera", metavar="DEVICE", help="send a V4L2 camera such as /dev/video0, with silence")
    parser.add_argument("--answer", choices=("auto", "manual"), default="auto", help="how calls are taken")
    parser.add_argument("--call", metavar="OPENID", help="call this user, and exit when the call is over")
    parser.add_argument("--voice", action="store_true", help="with --call: sound only")
    parser.add_argument("--save", metavar="FILE", help="record what is received (.mkv, .mp4, .webm, .wav)")
    parser.add_argument("--duration", metavar="S", type=_seconds, help="hang up after S seconds of talk")
    parser.add_argument("--once", action="store_true", help="exit after one call")
    parser.add_argument("--video-codec", metavar="NAME", type=_one_of(VIDEO_CODECS), help="offer only VP8 or H264")
    parser.add_argument(
        "--audio-codec",
        metavar="NAME",
        type=_one_of(AUDIO_CODECS),
        help="offer only opus, PCMU, PCMA or G722",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    if args.voice and not args.call:
        return _fail(Exit.USAGE, "--voice goes with --call")
    media = Media(path=args.media, camera=args.camera)
    try:
        media.check()
        if args.save:
            Recorder.check(args.save)
    except (SourceError, RecorderError) as fault:
        return _fail(Exit.USAGE, str(fault))
    return uvloop.run(_main(args, media))


async def _main(args: argparse.Namespace, media: Media) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(_on_loop_fault)
    with _signals(stop):
        device = Device(
            args.sn,
            args.url,
            args.token,
            name=args.name,
            media=media,
            answer=args.answer,
            save=args.save,
            video_codec=args.video_codec,
            audio_codec=args.audio_codec,
            patience_s=ONCE_PATIENCE_S if args.once or args.call else None,
        )
        live = Live(device)

        def show(changed: Device) -> None:
            if line := _phase_line(changed, manual=args.answer == "manual"):
                live.say(line)

        device.on_change = show
        session = asyncio.ensure_future(_session(device, args, live))
        stopping = asyncio.ensure_future(stop.wait())
        async with _keyboard(device, stop, wanted=args.answer == "manual" or sys.stdin.isatty()):
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
            return _fail(Exit.RELAY, str(fault))
        except SourceError as fault:
            return _fail(Exit.USAGE, str(fault))
        finally:
            await device.close()
        return int(device.last.exit if device.last is not None else Exit.COMPLETED)


async def _session(device: Device, args: argparse.Namespace, live: Live) -> None:
    """Calls one after the other until there is nothing more to do."""
    await device.start()
    live.say(f"device {args.sn} is online at {base_url(args.url)} (Ctrl-C ends)")
    line = asyncio.ensure_future(live.run())
    limit = asyncio.ensure_future(_limit(device, args.duration)) if args.duration else None
    try:
        if args.call:
            _tell_end(device, live, await device.call(args.call, voice=args.voice))
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
            kind = "voice" if device.incoming.voice else "video"
            keys = "  [a]nswer [r]eject" if manual else ""
            return f"ringing: {kind} call from {device.incoming.caller_name}{keys}"
        case "calling":
            return f"calling {device.peer}"
        case "joining":
            return f"answered, connecting to {device.peer}"
        case "talking":
            return f"talking with {device.peer}"
        case _:
            return ""  # the end of a call is told with its outcome


def _tell_end(device: Device, live: Live, outcome: Outcome) -> None:
    for note in device.notes:
        live.say(f"note: {note}")
    device.notes.clear()
    peer = f" with {outcome.peer}" if outcome.peer else ""
    live.say(
        f"call{peer} ended: {outcome.words}; talked {outcome.keep_s:.0f} s"
        f" (status {outcome.exit.value}: {outcome.exit.words})"
    )


def _on_loop_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """aiortc leaves a task behind when a connection is closed while it comes up; that is no news to anybody."""
    if not isinstance(context.get("exception"), InvalidStateError):
        loop.default_exception_handler(context)


def _fail(status: Exit, text: str) -> int:
    print(f"relay device: {text} (status {status.value}: {status.words})", file=sys.stderr)
    return int(status)


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Any:
    """SIGINT and SIGTERM ask to stop; a second one of them kills, as ever."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _keyboard(device: Device, stop: asyncio.Event, *, wanted: bool) -> AsyncIterator[None]:
    """Single keys from a terminal, or letters from a pipe. Without either: nothing."""
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError, AttributeError):
        wanted = False
    # A background job that touched its terminal would be stopped by the kernel (SIGTTIN).
    if not wanted or (sys.stdin.isatty() and os.tcgetpgrp(descriptor) != os.getpgrp()):
        yield
        return
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def read() -> None:
        try:
            keys = os.read(descriptor, 64)
        except OSError:
            keys = b""
        if not keys:
            loop.remove_reader(descriptor)
        for key in keys.decode(errors="replace").lower():
            if key == "q":
                stop.set()
            elif (action := {"a": device.answer, "r": device.reject, "h": device.hang_up}.get(key)) is not None:
                task = loop.create_task(_quietly(action()))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    with _single_keys(descriptor):
        try:
            loop.add_reader(descriptor, read)
        except (OSError, ValueError):
            pass  # a plain file or /dev/null cannot be waited for: no keyboard then
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                loop.remove_reader(descriptor)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _quietly(action: Any) -> None:
    with contextlib.suppress(SignallingError):
        await action


@contextlib.contextmanager
def _single_keys(descriptor: int) -> Any:
    """The terminal gives keys at once and without echo; Ctrl-C stays a signal."""
    if not os.isatty(descriptor):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return value


def _url(text: str) -> str:
    try:
        base_url(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault
    return text


def _one_of(names: tuple[str, ...]) -> Any:
    def codec(text: str) -> str:
        for name in names:
            if name.lower() == text.lower():
                return name
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}")

    return codec
