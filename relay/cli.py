"""The `relay` command: serve, device, doctor, token.

Each command imports what it needs only when it runs, so that `relay serve` starts without FFmpeg and `relay
--help` answers at once. Exit codes: 0 all right, 1 it could not be done, 2 the command line or the
configuration is wrong; `relay device` has more, which its help lists.
"""

import argparse
import importlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import relay

if TYPE_CHECKING:
    from relay.config import Config
    from relay.node import Node

CALL = " --call alice"

FAILED = 1
USAGE = 2

_EPILOG = """examples:
  relay serve --demo                          a node with demo pages on http://127.0.0.1:8080/
  relay device --sn SN-1                      be a device that answers calls, in a second terminal
  relay doctor                                check this machine
  relay token --kind device --id SN-1         a token for trying out the HTTP interface
  relay openapi > relay.json                  the HTTP interface, for generators of clients

Every command explains itself: relay serve --help
"""

_SERVE_EPILOG = """examples:
  relay serve --demo
  relay serve --demo --host 0.0.0.0 --announce 203.0.113.7
  relay serve --config /etc/relay.toml --workers 4
  relay serve --store postgresql://relay@db/relay

Settings come from the file (TOML), then from RELAY_* environment variables (RELAY_SECRET, RELAY_PORT ...), then from
these options. relay/config.py lists them all with their reasons. Without --demo a secret of 32 bytes or more is needed.

The first SIGTERM or Ctrl-C drains: no new calls, running ones go on, exit when the last one ended or after --drain
seconds. A second one ends everything within two seconds. Exit code 0 either way, 1 when the node could not start,
2 for a wrong configuration.
"""

_TOKEN_EPILOG = """examples:
  RELAY_SECRET=... relay token --kind operator --id ops
  relay token --kind device --id SN-1 --model-id MODEL --ttl 3600
  relay token --kind user --id alice --appid wx0123

The secret is that of the node: RELAY_SECRET or the configuration file. A demo node makes up its own at each start,
unless it is given one, and hands out tokens itself at /demo/token.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="relay",
        description="A media relay for calls between hardware devices and mini programs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"relay {relay.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_device(commands, wanted=words[:1] == ["device"])
    _add_doctor(commands)
    _add_token(commands)
    _add_openapi(commands)
    options = parser.parse_args(words)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `relay ... | head`: nobody reads any more. The interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


# --- serve ---


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="run a node",
        description="Run a node: the HTTP interface, the call plane and the media workers.",
        epilog=_SERVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="settings in TOML")
    parser.add_argument("--demo", action="store_true", default=None, help="serve demo pages and hand out tokens")
    parser.add_argument("--pages", action="store_true", default=None, help="serve the call page and the SDK, no tokens")
    parser.add_argument("--host", metavar="ADDR", help="address of the HTTP interface (127.0.0.1)")
    parser.add_argument("--port", type=int, help="TCP port of the HTTP interface (8080; 0: any free one)")
    parser.add_argument("--workers", type=int, metavar="N", help="media processes (one a core, at most 8; 0: none)")
    parser.add_argument("--media-port", type=int, metavar="PORT", help="UDP port of the first worker (30000)")
    parser.add_argument(
        "--announce",
        action="append",
        metavar="ADDR",
        dest="announce_addresses",
        help="IP address that peers reach this node at; may be repeated (this machine's own)",
    )
    parser.add_argument(
        "--store", metavar="URL", help="sqlite:///FILE, postgresql://... (relay.sqlite3; --demo: memory)"
    )
    parser.add_argument("--pump", choices=("thread", "loop"), help="what drives the packet loop (thread)")
    parser.add_argument("--drain", type=float, default=3600.0, metavar="S", help="longest drain (%(default)g s)")
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(%(default)s)"
    )
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    import uvloop

    from relay import logs
    from relay.config import ConfigError, load

    names = ("demo", "pages", "host", "port", "workers", "media_port", "announce_addresses", "store", "pump")
    logs.configure(options.log_level)
    try:
        config = load(options.config, overrides={name: getattr(options, name) for name in names})
    except ConfigError as error:
        return _complain(str(error), USAGE)
    try:
        from relay.media.remote import StartError
        from relay.node import serve
        from relay.store.database import StoreError
    except ImportError as error:
        return _complain(f"{error}; is everything built? (make build)", FAILED)
    try:
        uvloop.run(serve(config, drain_s=options.drain, announce=lambda node: _banner(config, node)))
    except (StartError, StoreError) as error:
        return _complain(str(error), FAILED)
    return 0


def _banner(config: "Config", node: "Node") -> None:
    """What a person needs after the start, on stdout: where to go and what to type."""
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::", "") else config.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{node.port}/"
    workers = f"{config.workers} workers" if config.workers > 1 else "1 worker"
    ports = sorted(node.media_ports)
    udp = f"{ports[0]}-{ports[-1]}" if len(ports) > 1 and ports[-1] - ports[0] == len(ports) - 1 else _join(ports)
    lines = [f"relay {relay.__version__}: {workers}, media on UDP {udp}", ""]
    if config.demo:
        option = "" if url == "http://127.0.0.1:8080/" else f" --url {url.rstrip('/')}"
        device = f"{_program()} device --sn SN-1{option}"
        lines += [
            f"  Open      {url}",
            f"  Device    {device:{len(device) + len(CALL)}}  answers calls",
            f"            {device}{CALL}  makes one",
            "",
            "Demo mode: whoever reaches this address gets a token. Ctrl-C stops.",
        ]
    else:
        lines += [f"  Serving   {url}", f"  Tokens    {_program()} token --help"]
    print("\n".join(lines), flush=True)


def _join(ports: Sequence[int]) -> str:
    return ", ".join(map(str, ports))


def _program() -> str:
    """How this program can be called again from here."""
    if shutil.which("relay") is not None:
        return "relay"
    called = Path(sys.argv[0])
    if called.name != "relay":
        return f"{Path(sys.executable).name} -m relay"
    try:
        return str(called.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(called)


# --- device ---


def _add_device(commands: Any, *, wanted: bool) -> None:
    # Its options live with it, and it brings FFmpeg along: only who asks for it pays.
    if wanted:
        importlib.import_module("relay.client.command").add_parser(commands)
    else:
        commands.add_parser("device", help="be a device: take and make calls from a terminal", add_help=False)


# --- doctor ---


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check whether this machine suits a node",
        description="Check this machine and say what to do about each finding. Exit code 1 when a node cannot run.",
    )
    parser.add_argument("--config", metavar="FILE", help="settings in TOML, for their ports and sizes")
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from relay.config import ConfigError, load
    from relay.doctor import examine, show

    try:
        # In demo mode no secret is needed; the store is still the one of a node that serves in earnest.
        config = load(options.config, overrides={"demo": True})
        if not config.store:
            config = load(options.config, overrides={"demo": True, "store": "sqlite:///relay.sqlite3"})
    except ConfigError as error:
        return _complain(str(error), USAGE)
    return show(examine(config))


# --- token ---


def _add_token(commands: Any) -> None:
    parser = commands.add_parser(
        "token",
        help="mint a token for development",
        description="Print a bearer token signed with the node's secret.",
        epilog=_TOKEN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kind", choices=("operator", "device", "user", "leg"), required=True)
    parser.add_argument("--id", required=True, help="SN of a device, openid of a user, any name for an operator")
    parser.add_argument("--model-id", default="", help="of a device")
    parser.add_argument("--appid", default="", help="of a user")
    parser.add_argument("--room", default="", help="of a leg")
    parser.add_argument("--role", default="", help="of a leg: caller, listener, publisher or player")
    parser.add_argument("--ttl", type=float, default=3600.0, metavar="S", help="life in seconds (%(default)g)")
    parser.add_argument("--config", metavar="FILE", help="settings in TOML, for the secret")
    parser.set_defaults(run=_token)


def _token(options: argparse.Namespace) -> int:
    from relay.api.tokens import Tokens
    from relay.config import ConfigError, load

    if options.ttl <= 0:
        return _complain("--ttl must be positive", USAGE)
    if options.kind == "leg" and not (options.room and options.role):
        return _complain("a leg token needs --room and --role", USAGE)
    try:
        config = load(options.config)
    except ConfigError as error:
        return _complain(str(error), USAGE)
    claims = {"model_id": options.model_id, "appid": options.appid, "room": options.room, "role": options.role}
    claims |= {"device": {"sn": options.id}, "user": {"openid": options.id}}.get(options.kind, {})
    given = {name: value for name, value in claims.items() if value}
    print(Tokens(config).mint(options.kind, options.id, options.ttl, **given))
    return 0


# --- openapi ---


def _add_openapi(commands: Any) -> None:
    parser = commands.add_parser(
        "openapi",
        help="print the machine-readable contract",
        description="Print the HTTP interface as an OpenAPI 3.1 document; a node serves the same at /openapi.json.",
    )
    parser.set_defaults(run=_openapi)


def _openapi(_options: argparse.Namespace) -> int:
    import json

    from relay.api.openapi import document

    print(json.dumps(document(), indent=2, ensure_ascii=False))
    return 0


def _complain(message: str, code: int) -> int:
    print(f"relay: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
