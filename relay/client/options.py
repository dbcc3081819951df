"""The command line of `relay device`: its options, its help, and what they allow together."""

import argparse
from collections.abc import Callable
from pathlib import Path

from relay.client.http import base_url
from relay.client.leg import AUDIO_CODECS, VIDEO_CODECS
from relay.client.outcome import Exit

_EPILOG = (
    """examples:
  relay device --sn SN-1                                      wait for calls, answer them with a test pattern
  relay device --sn SN-1 --call alice --duration 10           call alice, talk for ten seconds, hang up
  relay device --sn SN-1 --call ann --call bob --ring-timeout 20     ring ann, then bob
  relay device --sn SN-1 --call ann --call bob --strategy simultaneous --time-limit 300
  relay device --sn SN-1 --media film.mp4 --save got.mkv      send a film in a loop, record what comes back
  relay device --sn SN-1 --camera /dev/video0 --answer manual ring, then: a answers, r rejects
  relay device --sn SN-1 --call alice --voice --audio-codec PCMA

  relay device --sn SN-1 --register TICKET --model-id MODEL --state SN-1.json    once, with an sn_ticket
  relay device --sn SN-1 --state SN-1.json                                       from then on
  relay device --sn SN-1 --state SN-1.json --contacts alice,bob                  who may be called?
  relay device --sn SN-1 --state SN-1.json --push-token                          for the operator's server

who the device is: --state, --secret-file, --secret or --token; without one, a relay in demo mode gives a token.

keys: a answer, r reject, b busy, h hang up, c camera on or off, q quit. Ctrl-C hangs up and quits.

signals, for a handset's switch: SIGUSR1 handset put down (hangs up), SIGUSR2 handset lifted (answers).

exit status:
"""
    + "\n".join(f"  {status.value}  {status.words}" for status in Exit)
    + "\nWithout --once and --call the status is that of the last call."
)


class UsageError(Exception):
    """Options that do not go together, or a file that cannot be read."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the `device` command."""
    parser = subparsers.add_parser(
        "device",
        help="be a device: take and make calls from a terminal",
        description="Be a device: take calls and make them. A relay in demo mode asks for no token.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sn", required=True, help="serial number of this device")
    parser.add_argument("--url", default="http://127.0.0.1:8080", type=_url, help="the relay (default: %(default)s)")
    parser.add_argument("--name", default="", help="name shown to the other side")
    parser.add_argument("--answer", choices=("auto", "manual"), default="auto", help="how calls are taken")
    parser.add_argument("--once", action="store_true", help="exit after one call")
    parser.add_argument("--duration", metavar="S", type=_seconds, help="hang up after S seconds of talk")

    who = parser.add_argument_group("who the device is")
    one = who.add_mutually_exclusive_group()
    one.add_argument("--token", help="device token; it cannot be renewed")
    one.add_argument("--secret", help="device secret; other users of this machine can see it here")
    one.add_argument("--secret-file", metavar="FILE", help="a file that holds the device secret and nothing else")
    who.add_argument("--state", metavar="FILE", help="where --register puts the secret, and later starts find it")
    who.add_argument("--model-id", metavar="MODEL", default="", help="device type of this device")

    errand = parser.add_argument_group("asking the relay (done, then exit; with --call or --once, go on)")
    errand.add_argument("--register", metavar="TICKET", help="trade an sn_ticket for the device secret; see --state")
    errand.add_argument(
        "--push-token", action="store_true", help="print the token with which this device can be called"
    )
    errand.add_argument(
        "--contacts", metavar="OPENID,...", type=_names, help="print which of these users may be called"
    )

    call = parser.add_argument_group("making a call")
    call.add_argument(
        "--call",
        metavar="OPENID",
        action="append",
        help="call this user, and exit when the call is over; may be repeated",
    )
    call.add_argument(
        "--strategy",
        choices=("sequential", "simultaneous"),
        help="with several --call: ring one after the other (default) or all at once",
    )
    call.add_argument("--voice", action="store_true", help="sound only")
    call.add_argument("--ring-timeout", metavar="S", type=_ring_time, help="give up after S seconds of ringing, 5-300")
    call.add_argument(
        "--time-limit", metavar="S", type=_seconds, help="the relay ends the call after S seconds of talk"
    )
    call.add_argument("--camera-off", action="store_true", help="begin without sending pictures")
    call.add_argument("--query", metavar="A=1&B=2", default="", help="hand this to the other side's application")

    media = parser.add_argument_group("sound and pictures")
    source = media.add_mutually_exclusive_group()
    source.add_argument("--media", metavar="FILE", help="send this file in a loop instead of the test pattern")
    source.add_argument("--camera", metavar="DEVICE", help="send a V4L2 camera such as /dev/video0, with silence")
    media.add_argument("--save", metavar="FILE", help="record what is received (.mkv, .mp4, .webm, .wav)")
    media.add_argument("--video-codec", metavar="NAME", type=_one_of(VIDEO_CODECS), help="offer only VP8 or H264")
    media.add_argument(
        "--audio-codec",
        metavar="NAME",
        type=_one_of(AUDIO_CODECS),
        help="offer only opus, PCMU, PCMA or G722",
    )
    return parser


def check(args: argparse.Namespace) -> None:
    """Raises UsageError for options that say nothing together, or that need a file that is missing."""
    if not args.call:
        for option in ("voice", "strategy", "ring_timeout", "time_limit", "camera_off", "query"):
            if getattr(args, option):
                raise UsageError(f"--{option.replace('_', '-')} goes with --call")
    if args.register and not args.model_id:
        raise UsageError("--register needs --model-id: the device type that the ticket was made for")
    if args.register and (args.token or args.secret or args.secret_file):
        raise UsageError("--register gets a new secret: leave --token, --secret and --secret-file out")
    asked = args.register or args.token or args.secret or args.secret_file
    if args.state and not asked and not Path(args.state).exists():
        raise UsageError(
            f"there is no state file {args.state}: check its name, or make it with --register TICKET --model-id MODEL"
        )


def secret(args: argparse.Namespace) -> str | None:
    """The device secret from the command line or its file. Raises UsageError."""
    if args.secret_file is None:
        return str(args.secret) if args.secret else None
    try:
        text = Path(args.secret_file).read_text(encoding="ascii").strip()
    except OSError as fault:
        raise UsageError(f"cannot read {args.secret_file}: {fault.strerror}") from fault
    except UnicodeDecodeError:
        text = ""
    if not text or len(text.split()) != 1:
        raise UsageError(f"{args.secret_file} must hold the device secret and nothing else")
    return text


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("must be openids, parted by commas")
    return names


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return value


def _ring_time(text: str) -> float:
    value = float(text)
    if not 5 <= value <= 300:
        raise argparse.ArgumentTypeError("must be 5 to 300 seconds")
    return value


def _url(text: str) -> str:
    try:
        base_url(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault
    return text


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def codec(text: str) -> str:
        for name in names:
            if name.lower() == text.lower():
                return name
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}")

    return codec
