"""SRTP sessions for the pump, made by the libsrtp inside the pylibsrtp package and called through its C pointers.

Profiles carry OpenSSL's names (RFC 5764 §4.1.2, RFC 7714 §14.2); a key is master key plus master salt.
"""

from typing import Any, Final

from pylibsrtp._binding import ffi, lib

from native.pump import load_srtp

#: name -> (libsrtp's profile, bytes of key and salt)
PROFILES: Final[dict[str, tuple[int, int]]] = {
    "SRTP_AEAD_AES_128_GCM": (lib.srtp_profile_aead_aes_128_gcm, 28),
    "SRTP_AEAD_AES_256_GCM": (lib.srtp_profile_aead_aes_256_gcm, 44),
    "SRTP_AES128_CM_SHA1_80": (lib.srtp_profile_aes128_cm_sha1_80, 30),
}

#: Packets a receiver tells apart: RFC 3711 §3.3.2 asks for 64, libwebrtc keeps 1,024.
REPLAY_WINDOW: Final = 1024


def _pointer(name: str) -> int:
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))


load_srtp(
    _pointer("srtp_protect"),
    _pointer("srtp_unprotect"),
    _pointer("srtp_protect_rtcp"),
    _pointer("srtp_unprotect_rtcp"),
)


class Session:
    """One direction of one leg: every SSRC that appears gets its own stream from the same master key.

    Used by the pump between `Pump.set_keys` and `Pump.remove_leg`; `close` must come after the latter.
    """

    def __init__(self, profile: str, key: bytes, *, inbound: bool) -> None:
        """ValueError when the profile is unknown or the key has the wrong length."""
        if profile not in PROFILES:
            raise ValueError(f"unknown SRTP profile {profile!r}")
        number, length = PROFILES[profile]
        if len(key) != length:
            raise ValueError(f"{profile} takes {length} bytes of key and salt, got {len(key)}")
        self._key = ffi.new("unsigned char[]", key)  # libsrtp copies it while creating, and only then
        policy: Any = ffi.new("srtp_policy_t *")
        _check(lib.srtp_crypto_policy_set_from_profile_for_rtp(ffi.addressof(policy.rtp), number))
        _check(lib.srtp_crypto_policy_set_from_profile_for_rtcp(ffi.addressof(policy.rtcp), number))
        policy.key = self._key
        policy.ssrc.type = lib.ssrc_any_inbound if inbound else lib.ssrc_any_outbound
        policy.window_size = REPLAY_WINDOW
        # A retransmission to a peer without RTX is the same packet again: same index, same plaintext.
        policy.allow_repeat_tx = 0 if inbound else 1
        session: Any = ffi.new("srtp_t *")
        _check(lib.srtp_create(session, policy))
        self._session: Any = session[0]
        ffi.memmove(self._key, bytes(len(key)), len(key))

    @property
    def pointer(self) -> int:
        """The address of libsrtp's session."""
        if self._session is None:
            raise ValueError("the SRTP session is closed")
        return int(ffi.cast("uintptr_t", self._session))

    def protect(self, packet: bytes) -> bytes:
        """One RTP packet made SRTP; for tests and tools, the pump calls libsrtp itself."""
        return self._transform(lib.srtp_protect, packet)

    def unprotect(self, packet: bytes) -> bytes:
        """One SRTP packet made RTP; ValueError when it is forged or replayed."""
        return self._transform(lib.srtp_unprotect, packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """One RTCP compound made SRTCP."""
        return self._transform(lib.srtp_protect_rtcp, packet)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """One SRTCP compound made RTCP; ValueError when it is forged or replayed."""
        return self._transform(lib.srtp_unprotect_rtcp, packet)

    def _transform(self, function: Any, packet: bytes) -> bytes:
        buffer: Any = ffi.new("unsigned char[]", len(packet) + 64)
        ffi.memmove(buffer, packet, len(packet))
        length: Any = ffi.new("int *", len(packet))
        _check(function(self._session, buffer, length))
        return bytes(ffi.buffer(buffer, length[0]))

    def close(self) -> None:
        """Free the session; it may be closed twice."""
        if self._session is not None:
            lib.srtp_dealloc(self._session)
            self._session = None


def _check(status: int) -> None:
    if status:
        raise ValueError(f"libsrtp refused with status {status}")
