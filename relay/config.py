"""Every limit and default of a node, each with its unit in its name and its reason beside it.

Read from a TOML file, then from `RELAY_*` environment variables (`RELAY_PORT=9000`; lists as JSON or parted
by commas), then from the command line; the later wins. Nothing else in the project invents a limit.
"""

import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import msgspec

ENVIRONMENT_PREFIX = "RELAY_"
SECRET_MIN_BYTES = 32  # RFC 7518 §3.2: an HS256 key is at least as long as the hash
WORKERS_MAX = 64

AUDIO = ("opus", "G722", "PCMA", "PCMU")
VIDEO = ("H264", "VP8", "VP9", "AV1", "H265")


class ConfigError(ValueError):
    """The configuration can't be used; the text names the field and what it wants."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's settings. Making one checks it: raises ConfigError, so a live Config is always valid."""

    # --- where to listen ---
    host: str = "127.0.0.1"  # a node opens itself to the network only when told to
    port: int = 8080  # 0 takes a free port (tests)
    workers: int = msgspec.field(default_factory=lambda: default_workers())  # 0: one worker inside the node
    media_host: str = "::"  # both families where the kernel has IPv6, else IPv4
    media_port: int = 30000  # base: worker i takes media_port + i; 0 takes free ports
    announce_addresses: tuple[str, ...] = ()  # IPs put into ICE candidates; empty: the machine's own
    pump: Literal["thread", "loop"] = "thread"  # "loop" for tests and boxes with one core

    # --- who may come in ---
    secret: str = ""  # HS256 key; >= 32 bytes; generated in demo mode
    demo: bool = False  # serves the pages and gives a token to anybody who asks
    pages: bool = False  # serves the call page and the SDK, without giving tokens
    forwarded_hops: int = 0  # proxies in front: the client's address is so far from the end of X-Forwarded-For
    api_keys: tuple[str, ...] = ()  # "NAME:SECRET", secrets of >= 32 bytes: an operator's server, as bearer
    require_grants: bool | None = None  # calls that need a grant are refused (9) without one; None: unless demo
    require_registration: bool | None = None  # unknown devices (2) and users (20) are refused; None: unless demo
    require_licence: bool = False  # True: devices need a licence, or pay by duration (15, 22, 23, 24)
    refuse_busy: bool = False  # True: calling a busy party fails at once with 2100 instead of event `busy`
    credential_s: float = 60.0  # life of a join credential; the interface promises <= 60 s
    demo_token_s: float = 43_200.0  # long enough for a day of trying things
    device_token_s: float = 3_600.0  # the plugin keeps a device token 1 h; made anew from the device's secret
    user_token_s: float = 3_600.0  # what /v1/users/{openid}/token gives; the SDK asks for a new one by itself
    push_token_s: float = 2_592_000.0  # 30 days: a device that is off for longer must be started to be called
    api_token_s: float = 7_200.0  # what /cgi-bin/token promises
    rate_per_s: float = 20.0  # requests of one device or user; a call makes about ten
    rate_burst: int = 100
    operator_rate_per_s: float = 1_000.0  # requests of one operator's server
    operator_rate_burst: int = 2_000
    anonymous_rate_per_s: float = 200.0  # requests without a good token, by address: a whole site may share one
    anonymous_rate_burst: int = 1_000

    # --- a call's timers (plugin-interface §7.5), all on the server ---
    ring_s: float = 60.0  # the plugin's ring time; one call may ask for 5-300 s
    join_s: float = 20.0  # retries are allowed inside it
    wait_s: float = 20.0  # called side is in the room, caller is not
    heartbeat_s: float = 5.0  # how often a client says it is there
    heartbeat_lost_s: float = 15.0  # three missed heartbeats
    late_result_s: float = 30.0  # a repeated create for the same pair gives the same room this long
    repeat_s: float = 600.0  # idempotency keys are remembered this long
    ticket_s: float = 300.0  # an snTicket, used once
    reopen_s: float = 60.0  # a refused grant may be reopened so often
    consent_s: float = 30.0  # RFC 7675 §5.1: consent expires after 30 s

    # --- what outlives the node ---
    store: str = ""  # sqlite:///FILE, postgresql://..., a path; "": relay.sqlite3, with --demo in memory
    node: str = ""  # this node's name in a shared store; "": the host's name
    store_wait_s: float = 2.0  # who waits for the store longer hears 503
    store_queue: int = 20_000  # pieces of work that may wait for it; beyond, new ones are refused
    history_s: float = 7_776_000.0  # 90 days: older calls are deleted
    node_seen_s: float = 5.0  # how often the node says that it lives; the error of a crashed call's end

    # --- webhooks ---
    webhook_s: float = 5.0  # an answer that takes longer is none
    webhook_tries: int = 3  # for the question whether a cloud call goes on
    webhook_give_up_s: float = 600.0  # everything else is repeated this long
    webhook_allow_private: bool = False  # True: targets may lie on this machine or in private networks
    max_webhooks: int = 16
    webhook_pending_max: int = 20_000  # kept in the store for one webhook; about 1 KiB each

    # --- how much of everything ---
    max_listeners: int = 16  # called parties of one call
    max_groups: int = 1_000
    group_devices: int = 50  # devices of a new group; may be raised for one group
    max_devices: int = 1_000_000
    max_calls: int = 10_000  # live at once; about 4 KiB each
    max_records: int = 5_000  # finished calls kept in memory besides the store; about 2 KiB each
    max_rooms: int = 1_000  # WHIP rooms
    max_legs_per_room: int = 256  # one publisher and its players
    max_legs_per_worker: int = 4_096  # tables are made at start: 20 MB of address space, touched as used
    max_parties: int = 50_000  # parties with an event buffer
    max_body_bytes: int = 65_536  # an SDP offer with every codec of Chromium is 8 KiB
    body_s: float = 10.0  # a body that takes longer is a slow attack or a dead peer

    # --- events ---
    event_buffer: int = 512  # kept per party for replay; a call makes about ten, and 50 calls in 10 min. are many
    event_buffer_bytes: int = 262_144  # of one party's, whatever their number
    event_memory_bytes: int = 268_435_456  # of all parties'; the longest unused forget theirs first
    event_buffer_s: float = 600.0  # how long they can be replayed
    event_queue: int = 256  # not yet written to one socket; a reader that lags further is cut (1013)
    event_sockets_max: int = 20_000
    event_sockets_per_party: int = 8  # a phone, a tablet, and pages left open
    event_message_bytes: int = 8_192  # what a client may send in one frame
    event_write_s: float = 10.0  # a frame that can't be written this long cuts the socket (1013)

    # --- media ---
    audio_codecs: tuple[str, ...] = AUDIO  # our order of preference
    video_codecs: tuple[str, ...] = VIDEO  # H.264 first: hardware devices have nothing else
    history_ms: int = 1_000  # sent packets kept for retransmission; a NACK later than this is useless
    history_bytes: int = 256 * 1024  # bound of that memory for one video stream: 1 s of 2 Mbit/s
    receive_buffer_bytes: int = 4 * 1024 * 1024  # 30 ms of 1 Gbit/s; the kernel may clip it
    send_buffer_bytes: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        if not self.secret and self.demo:
            # Lives as long as the node: demo tokens die with it.
            msgspec.structs.force_setattr(self, "secret", secrets.token_urlsafe(48))
        if len(self.secret.encode()) < SECRET_MIN_BYTES:
            raise ConfigError(
                f"secret: needs at least {SECRET_MIN_BYTES} bytes (set {ENVIRONMENT_PREFIX}SECRET, "
                "or start with --demo to have one made up)"
            )
        _check_ranges(self)
        for name, known in (("audio_codecs", AUDIO), ("video_codecs", VIDEO)):
            chosen = getattr(self, name)
            unknown = [codec for codec in chosen if codec not in known]
            if unknown or len(set(chosen)) != len(chosen):
                raise ConfigError(f"{name}: pick from {', '.join(known)}, each at most once")
        if not (self.audio_codecs or self.video_codecs):
            raise ConfigError("audio_codecs, video_codecs: at least one codec is needed")
        for address in (self.media_host, *self.announce_addresses):
            try:
                ip_address(address)
            except ValueError:
                raise ConfigError(f"media_host, announce_addresses: {address!r} is not an IP address") from None
        for key in self.api_keys:
            owner, _, secret = key.partition(":")
            if not owner or len(secret.encode()) < SECRET_MIN_BYTES:
                raise ConfigError(f"api_keys: each is NAME:SECRET with a secret of {SECRET_MIN_BYTES} bytes or more")
        if self.heartbeat_lost_s <= self.heartbeat_s:
            raise ConfigError("heartbeat_lost_s: must be longer than heartbeat_s")
        if self.event_sockets_max >= self.max_parties:
            raise ConfigError("event_sockets_max: must be below max_parties, or every log may be in use")
        if self.media_port and self.media_port + max(self.workers, 1) - 1 > 65_535:
            raise ConfigError("media_port: media_port + workers goes beyond 65535")

    @property
    def needs_grants(self) -> bool:
        return not self.demo if self.require_grants is None else self.require_grants

    @property
    def needs_registration(self) -> bool:
        return not self.demo if self.require_registration is None else self.require_registration

    def __repr__(self) -> str:
        """Without secrets, so that a logged configuration gives nothing away."""
        hidden = ("secret", "api_keys", "store")
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name not in hidden}
        return f"Config({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


# (lowest, highest) of every number, both allowed. A field that is not here fails the test of this file.
RANGES: dict[str, tuple[float, float]] = {
    "forwarded_hops": (0, 16),
    "port": (0, 65_535),
    "workers": (0, WORKERS_MAX),
    "media_port": (0, 65_535),
    "credential_s": (1, 60),
    "demo_token_s": (60, 2_592_000),
    "device_token_s": (60, 86_400),
    "user_token_s": (60, 86_400),
    "push_token_s": (60, 31_536_000),
    "api_token_s": (60, 86_400),
    "rate_per_s": (0.1, 1_000_000),
    "rate_burst": (1, 1_000_000),
    "operator_rate_per_s": (0.1, 1_000_000),
    "operator_rate_burst": (1, 1_000_000),
    "anonymous_rate_per_s": (0.1, 1_000_000),
    "anonymous_rate_burst": (1, 1_000_000),
    "ticket_s": (1, 300),
    "reopen_s": (0, 86_400),
    "store_wait_s": (0.05, 60),
    "store_queue": (1, 1_000_000),
    "history_s": (3_600, 3_153_600_000),
    "node_seen_s": (0.1, 300),
    "webhook_s": (0.1, 60),
    "webhook_tries": (1, 10),
    "webhook_give_up_s": (1, 86_400),
    "max_webhooks": (0, 1_000),
    "webhook_pending_max": (1, 10_000_000),
    "max_listeners": (1, 64),
    "max_groups": (0, 1_000_000),
    "group_devices": (1, 10_000),
    "max_devices": (1, 100_000_000),
    "ring_s": (5, 300),
    "join_s": (1, 300),
    "wait_s": (1, 300),
    "heartbeat_s": (0.1, 60),
    "heartbeat_lost_s": (0.2, 300),
    "late_result_s": (0, 300),
    "repeat_s": (1, 86_400),
    "consent_s": (1, 300),
    "max_calls": (1, 1_000_000),
    "max_records": (1, 10_000_000),
    "max_rooms": (0, 100_000),
    "max_legs_per_room": (2, 10_000),
    "max_legs_per_worker": (2, 65_535),
    "max_parties": (2, 1_000_000),
    "max_body_bytes": (1_024, 1_048_576),
    "body_s": (0.1, 300),
    "event_buffer": (1, 10_000),
    "event_buffer_bytes": (16_384, 2**30),
    "event_memory_bytes": (65_536, 2**40),
    "event_buffer_s": (1, 86_400),
    "event_queue": (1, 10_000),
    "event_sockets_max": (1, 1_000_000),
    "event_sockets_per_party": (1, 1_000),
    "event_message_bytes": (256, 65_536),
    "event_write_s": (0.1, 300),
    "history_ms": (0, 60_000),
    "history_bytes": (16_384, 2**26),
    "receive_buffer_bytes": (65_536, 2**30),
    "send_buffer_bytes": (65_536, 2**30),
}


def default_workers() -> int:
    """One worker a core, at most 8: beyond that one node process becomes the narrow place."""
    return min(len(os.sched_getaffinity(0)), 8)


def load(
    path: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Read a TOML file, then `RELAY_*` variables, then `overrides` (None values are left out).

    Raises ConfigError for an unreadable file, an unknown name or a value out of range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values.update(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:  # ValueError: bad TOML or bad UTF-8
            raise ConfigError(f"{path}: {error}") from None
    for name, text in (os.environ if environment is None else environment).items():
        if name.startswith(ENVIRONMENT_PREFIX) and not _of_kubernetes(name, text):
            field = name.removeprefix(ENVIRONMENT_PREFIX).lower()
            values[field] = _from_text(field, text)
    values.update({name: value for name, value in (overrides or {}).items() if value is not None})
    unknown = sorted(set(values) - set(Config.__struct_fields__))
    if unknown:
        raise ConfigError(f"unknown setting: {', '.join(unknown)}")
    try:
        return msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from None


def _of_kubernetes(name: str, text: str) -> bool:
    """Where a Service is called `relay`, every pod gets RELAY_PORT=tcp://... and more; they are not meant for us."""
    return text.startswith(("tcp://", "udp://")) or re.search(r"^RELAY_(SERVICE_|PORT_\d+_)", name) is not None


def _from_text(field: str, text: str) -> Any:
    """A list arrives as JSON or parted by commas; msgspec turns everything else from text."""
    if field not in ("announce_addresses", "audio_codecs", "video_codecs", "api_keys"):
        return text
    if text.lstrip().startswith("["):
        try:
            return msgspec.json.decode(text.encode())
        except msgspec.DecodeError as error:
            raise ConfigError(f"{ENVIRONMENT_PREFIX}{field.upper()}: {error}") from None
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_ranges(config: Config) -> None:
    for name, (lowest, highest) in RANGES.items():
        value = getattr(config, name)
        if not lowest <= value <= highest:  # also refuses NaN
            raise ConfigError(f"{name}: {value} is not between {lowest} and {highest}")
