"""What SRTP costs: libsrtp through its C function pointers, one packet a call.

ctypes adds a few hundred nanoseconds to each, the same for all rows; the pump pays none of it.
"""

import ctypes
import struct
from typing import Any

import pytest
from pylibsrtp._binding import ffi, lib

from native.srtp import PROFILES, Session

BATCH = 1000
HEADER = struct.pack("!BBHII", 0x80, 96, 0, 0, 1)

_CALL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))


def call(function: str) -> Any:
    return _CALL(int(ffi.cast("uintptr_t", ffi.addressof(lib, function))))


def packets(payload_bytes: int, first: int) -> list[Any]:
    """RTP in buffers with room for a tag, numbered from `first`."""
    body = bytes(payload_bytes)
    made = []
    for number in range(first, first + BATCH):
        raw = struct.pack("!BBHII", 0x80, 96, number & 0xFFFF, number, 1) + body
        made.append(ctypes.create_string_buffer(raw, len(raw) + 64))
    return made


@pytest.mark.parametrize("profile", ["SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"])
@pytest.mark.parametrize("payload_bytes", [160, 1100])
@pytest.mark.parametrize("direction", ["protect", "unprotect"])
def test_srtp(benchmark: Any, profile: str, payload_bytes: int, direction: str) -> None:
    key = bytes(range(PROFILES[profile][1]))
    sender, receiver = Session(profile, key, inbound=False), Session(profile, key, inbound=True)
    protect, unprotect = call("srtp_protect"), call("srtp_unprotect")
    first = 0

    def batch() -> tuple[tuple[Any, int, list[Any], list[Any]], dict[str, Any]]:
        nonlocal first
        buffers = packets(payload_bytes, first)
        first += BATCH
        lengths = [ctypes.c_int(len(HEADER) + payload_bytes) for _ in buffers]
        if direction == "unprotect":
            for buffer, length in zip(buffers, lengths, strict=True):
                assert protect(sender.pointer, buffer, length) == 0
            return (unprotect, receiver.pointer, buffers, lengths), {}
        return (protect, sender.pointer, buffers, lengths), {}

    def work(function: Any, session: int, buffers: list[Any], lengths: list[Any]) -> int:
        return sum(function(session, buffer, length) for buffer, length in zip(buffers, lengths, strict=True))

    benchmark.group = f"SRTP, {BATCH} packets of {payload_bytes} B a round, each through ctypes"
    assert benchmark.pedantic(work, setup=batch, rounds=60) == 0
    sender.close()
    receiver.close()
    if benchmark.enabled:
        benchmark.extra_info["ns_per_packet"] = benchmark.stats.stats.median / BATCH * 1e9
