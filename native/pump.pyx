# cython: language_level=3, auto_pickle=False, autotestdict=False, boundscheck=False, wraparound=False
"""The packet loop's Python face: commands in, copies of slow-path datagrams and counters out.

Every method takes the pump's mutex for a few microseconds with the GIL released. One pump owns one UDP socket.
"""

import socket
import struct

import numpy as np

from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from native.core cimport (
    DROP_COUNT, NONE, SLOW_ITEMS, address, drop_names, drop_texts, egress_flush, leg_row, local_address, payload_spec,
    pump, pump_clock_us, pump_counters, pump_counters_read, pump_free, pump_inject, pump_leg_add, pump_leg_bind,
    pump_leg_bye, pump_leg_ids, pump_leg_keys, pump_leg_payload, pump_leg_remove, pump_leg_rows, pump_leg_section,
    pump_leg_ssrc, pump_leg_unbind, pump_lock, pump_new, pump_options, pump_poll, pump_route_add, pump_route_rows,
    pump_send, pump_step, pump_stream_rows, pump_thread_start, pump_thread_stop, pump_tick, pump_unlock, route_row,
    slow_item, srtp, srtp_function, stream_row,
)

DROP_REASONS = {drop_names[i].decode(): drop_texts[i].decode() for i in range(DROP_COUNT)}

DROPS = np.dtype([(name, np.uint64) for name in DROP_REASONS])
COUNTERS = np.dtype([(name, np.uint64) for name in (
    "wakeups datagrams_in bytes_in rtp_in rtcp_in stun_in dtls_in packets_out bytes_out gso_runs receive_calls "
    "send_calls kernel_drops recovered resent keyframe_requests_in keyframe_requests_out reports_out legs streams "
    "routes"
).split()] + [("drops", DROPS)])
LEG_ROW = np.dtype([(name, np.uint64) for name in
                    "leg packets_in bytes_in packets_out bytes_out drops last_in_us".split()])
STREAM_ROW = np.dtype([(name, np.uint64) for name in
                       "leg section ssrc rtx packets bytes expected jitter_us recovered".split()] + [("lost", np.int64)])
ROUTE_ROW = np.dtype([(name, np.uint64) for name in (
    "source source_section sink sink_section packets bytes resent nacked rtt_us fraction_lost jitter_us"
).split()] + [("lost", np.int64)])

if (COUNTERS.itemsize != sizeof(pump_counters) + DROPS.itemsize or LEG_ROW.itemsize != sizeof(leg_row)
        or STREAM_ROW.itemsize != sizeof(stream_row) or ROUTE_ROW.itemsize != sizeof(route_row)):
    raise ImportError("native.pump: the row types differ from core/pump.h; rebuild the extension")


def load_srtp(uintptr_t protect, uintptr_t unprotect, uintptr_t protect_rtcp, uintptr_t unprotect_rtcp):
    """Tell C where libsrtp's functions are; `native.srtp` does this once."""
    srtp.protect = <srtp_function>protect
    srtp.unprotect = <srtp_function>unprotect
    srtp.protect_rtcp = <srtp_function>protect_rtcp
    srtp.unprotect_rtcp = <srtp_function>unprotect_rtcp


def clock_us():
    """The pump's clock: monotonic microseconds."""
    return pump_clock_us()


cdef int read_address(str ip, int port, address *out) except -1:
    cdef bytes packed
    if ":" in ip:
        packed = socket.inet_pton(socket.AF_INET6, ip.partition("%")[0])
    else:
        packed = b"\0" * 10 + b"\xff\xff" + socket.inet_pton(socket.AF_INET, ip)
    out.hi, out.lo = struct.unpack(">QQ", packed)
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is not between 1 and 65535")
    out.port = <uint32_t>port
    return 0


cdef int read_local(str ip, local_address *out) except -1:
    cdef address a
    out.hi = out.lo = 0
    if ip:
        read_address(ip, 1, &a)
        out.hi, out.lo = a.hi, a.lo
    return 0


cdef str write_local(const local_address *local):
    cdef address a
    a.hi, a.lo = local.hi, local.lo
    return write_address(&a) if a.hi or a.lo else ""


cdef str write_address(const address *a):
    if a.hi == 0 and (a.lo >> 32) == 0xffff:
        return socket.inet_ntop(socket.AF_INET, struct.pack(">I", a.lo & 0xffffffff))
    return socket.inet_ntop(socket.AF_INET6, struct.pack(">QQ", a.hi, a.lo))


cdef class Pump:
    """One UDP socket and the loop that relays its packets.

    `fd` is a bound, non-blocking or blocking UDP socket that the caller keeps open until `close`; -1 makes a pump
    without a socket, for tests and benchmarks, fed by `inject`. `seed` makes hashing and random numbers repeatable.
    Handles name legs; using one after `remove_leg` raises KeyError.
    """

    cdef pump *_p
    cdef slow_item *_items
    cdef uint8_t *_capture
    cdef pump_options _options
    cdef bint _threaded

    def __cinit__(self, int fd, int family=socket.AF_INET, *, uint32_t max_legs=4096, uint32_t max_streams=16384,
                  uint32_t max_routes=16384, uint32_t history_ms=1000, uint32_t video_history_bytes=262144,
                  uint32_t audio_history_bytes=16384, uint64_t seed=1, uint32_t capture_bytes=0, bint gso=True):
        if not 0 < max_legs <= 65535:
            raise ValueError("max_legs is not between 1 and 65535")
        memset(&self._options, 0, sizeof(self._options))
        self._options.max_legs = max_legs
        self._options.max_streams = max_streams
        self._options.max_routes = max_routes
        self._options.history_ms = history_ms
        self._options.video_history_bytes = max(video_history_bytes, 2048)
        self._options.audio_history_bytes = max(audio_history_bytes, 2048)
        self._options.seed = seed
        self._items = <slow_item *>malloc(SLOW_ITEMS * sizeof(slow_item))
        self._p = pump_new(fd, family, &self._options)
        if self._p == NULL or self._items == NULL:
            raise MemoryError("no memory for the pump's tables")
        if not gso:
            self._p.udp.gso = False
        if capture_bytes:
            self._capture = <uint8_t *>malloc(capture_bytes)
            if self._capture == NULL:
                raise MemoryError("no memory for the capture")
            self._p.egress.capture = self._capture
            self._p.egress.capture_size = capture_bytes

    def __dealloc__(self):
        with nogil:
            pump_free(self._p)
        free(self._items)
        free(self._capture)

    # Drivers.

    def start(self):
        """Run the loop in a native thread."""
        if self._threaded:
            raise RuntimeError("the pump's thread is already running")
        if not pump_thread_start(self._p):
            raise OSError("the pump's thread could not be started")
        self._threaded = True

    def stop(self):
        """End the native thread; returns when its last batch is done, at most 200 ms later."""
        with nogil:
            pump_thread_stop(self._p)
        self._threaded = False

    def step(self):
        """Handle one batch without waiting; returns the datagrams handled. For the event loop's reader."""
        cdef uint32_t n
        with nogil:
            n = pump_step(self._p, False)
        return n

    def inject(self, list datagrams, uint64_t now_us):
        """Handle `(bytes, ip, port)` datagrams as one batch that arrived at `now_us`, then everything due by then."""
        cdef address a
        cdef bytes data
        cdef bytearray copy
        cdef uint8_t *raw
        cdef uint32_t length
        cdef local_address here
        here.hi = here.lo = 0
        for datagram in datagrams:
            data = datagram[0]
            read_address(datagram[1], datagram[2], &a)
            copy = bytearray(data) if data else bytearray(1)  # the pump works in place
            raw = copy
            length = <uint32_t>len(data)
            with nogil:
                pump_lock(self._p)
                pump_inject(self._p, raw, length, &a, &here, now_us)
                pump_unlock(self._p)
        with nogil:
            pump_lock(self._p)
            egress_flush(&self._p.egress)
            pump_tick(self._p, now_us)
            pump_unlock(self._p)

    def replay(self, list packets, str ip, int port, uint64_t now_us):
        """Handle `packets` (bytes of one source) as one batch inside one GIL release; for benchmarks."""
        cdef address a
        cdef uint32_t count = <uint32_t>len(packets), i
        cdef uint8_t **raws = <uint8_t **>malloc(count * sizeof(uint8_t *))
        cdef uint32_t *lengths = <uint32_t *>malloc(count * sizeof(uint32_t))
        cdef list copies = [bytearray(p) for p in packets]
        cdef bytearray copy
        cdef local_address here
        here.hi = here.lo = 0
        read_address(ip, port, &a)
        try:
            if raws == NULL or lengths == NULL:
                raise MemoryError("no memory for the batch")
            for i in range(count):
                copy = copies[i]
                raws[i] = copy
                lengths[i] = <uint32_t>len(copy)
            with nogil:
                pump_lock(self._p)
                for i in range(count):
                    pump_inject(self._p, raws[i], lengths[i], &a, &here, now_us)
                egress_flush(&self._p.egress)
                pump_unlock(self._p)
        finally:
            free(raws)
            free(lengths)

    def captured(self):
        """The `(bytes, port)` datagrams sent since the last call; only without a socket."""
        cdef uint32_t at = 0, length
        out = []
        pump_lock(self._p)
        while at < self._p.egress.capture_used:
            length = self._capture[at] << 8 | self._capture[at + 1]
            out.append((self._capture[at + 4:at + 4 + length], self._capture[at + 2] << 8 | self._capture[at + 3]))
            at += 4 + length
        self._p.egress.capture_used = 0
        pump_unlock(self._p)
        return out

    # The slow path.

    def event_fileno(self):
        """A descriptor that is readable when `poll` has something."""
        return self._p.event_fd

    def poll(self):
        """STUN and DTLS datagrams that wait for Python: `(is_dtls, leg or None, ip, port, local ip, bytes)`.

        `local ip` is the address of this machine they came to, "" when the socket has only one.
        """
        cdef uint32_t n, i
        cdef slow_item *item
        with nogil:
            pump_lock(self._p)
            n = pump_poll(self._p, self._items, SLOW_ITEMS)
            pump_unlock(self._p)
        out = []
        for i in range(n):
            item = &self._items[i]
            out.append((item.kind == 1, None if item.leg == NONE else item.leg, write_address(&item.source),
                        item.source.port, write_local(&item.to), (<uint8_t *>item.data)[:item.len]))
        return out

    def send(self, bytes data, str ip, int port, str local=""):
        """Send one datagram past the loop, from address `local`; OSError when the kernel refuses."""
        cdef address a
        cdef local_address here
        cdef const uint8_t *raw = data
        cdef size_t length = len(data)
        cdef int error
        read_address(ip, port, &a)
        read_local(local, &here)
        with nogil:
            error = pump_send(self._p, &a, &here, raw, length)
        if error:
            raise OSError(error, "the datagram could not be sent")

    # Legs and routes.

    def add_leg(self, *, uint32_t local_ssrc, str cname, bint reduced_size=False):
        """A new leg's handle; MemoryError when the pump holds its maximum."""
        cdef bytes name = cname.encode()[:63]
        cdef const char *raw = name
        cdef uint8_t length = <uint8_t>len(name)
        cdef uint32_t leg
        with nogil:
            pump_lock(self._p)
            leg = pump_leg_add(self._p, local_ssrc, raw, length, reduced_size)
            pump_unlock(self._p)
        if leg == NONE:
            raise MemoryError("the worker holds its maximum of legs")
        return leg

    def set_extension_ids(self, uint32_t leg, *, uint8_t mid=0, uint8_t rid=0, uint8_t repaired_rid=0):
        """Header extension ids of the leg by which SSRCs are learned; 0 = not negotiated."""
        pump_lock(self._p)
        ok = pump_leg_ids(self._p, leg, mid, rid, repaired_rid)
        pump_unlock(self._p)
        self._known(ok, leg)

    def add_section(self, uint32_t leg, *, str mid, bint video, bint receives, bint sends, bint pli,
                    uint32_t out_ssrc=0, uint32_t out_rtx_ssrc=0):
        """Append an m-section; the first one has number 0."""
        cdef bytes name = mid.encode()[:16]
        pump_lock(self._p)
        ok = pump_leg_section(self._p, leg, name, <uint8_t>len(name), video, receives, sends, pli, out_ssrc,
                              out_rtx_ssrc)
        pump_unlock(self._p)
        self._known(ok, leg)

    def add_payload(self, uint32_t leg, *, uint8_t section, uint8_t payload_type, uint32_t clock_hz,
                    uint8_t repairs=255):
        """A payload type of the leg; `repairs` is RTX's apt (RFC 4588 §8)."""
        cdef payload_spec spec
        spec.pt = payload_type
        spec.section = section
        spec.apt = repairs
        spec.clock_hz = clock_hz
        pump_lock(self._p)
        ok = pump_leg_payload(self._p, leg, &spec)
        pump_unlock(self._p)
        self._known(ok, leg)

    def add_ssrc(self, uint32_t leg, uint8_t section, uint32_t ssrc, uint32_t rtx_ssrc=0):
        """An SSRC the offer announced, with its RTX stream."""
        pump_lock(self._p)
        ok = pump_leg_ssrc(self._p, leg, section, ssrc, rtx_ssrc)
        pump_unlock(self._p)
        self._known(ok, leg)

    def set_keys(self, uint32_t leg, uintptr_t receiving, uintptr_t sending):
        """SRTP sessions (`native.srtp.Session.pointer`); the caller keeps them alive until after `remove_leg`."""
        pump_lock(self._p)
        ok = pump_leg_keys(self._p, leg, <void *>receiving, <void *>sending)
        pump_unlock(self._p)
        self._known(ok, leg)

    def bind(self, uint32_t leg, str ip, int port, *, bint selected, str local=""):
        """Accept the leg's packets from this address; when selected, send to it from our address `local`.

        False when another leg holds the address.
        """
        cdef address a
        cdef local_address here
        read_address(ip, port, &a)
        read_local(local, &here)
        pump_lock(self._p)
        ok = pump_leg_bind(self._p, leg, &a, &here, selected)
        pump_unlock(self._p)
        return bool(ok)

    def unbind(self, uint32_t leg, str ip, int port):
        """Forget an address of the leg."""
        cdef address a
        read_address(ip, port, &a)
        pump_lock(self._p)
        ok = pump_leg_unbind(self._p, leg, &a)
        pump_unlock(self._p)
        return bool(ok)

    def remove_leg(self, uint32_t leg, *, bint bye=False):
        """Remove the leg with its streams and routes; `bye` tells its peer (RFC 3550 §6.6)."""
        cdef bint ok
        with nogil:
            pump_lock(self._p)
            if bye:
                pump_leg_bye(self._p, leg)
            ok = pump_leg_remove(self._p, leg)
            pump_unlock(self._p)
        self._known(ok, leg)

    def add_route(self, uint32_t source, uint8_t source_section, uint32_t sink, uint8_t sink_section, *,
                  dict payload, dict rtx, dict extensions):
        """Forward what the source's section receives into the sink's section and ask for a key frame.

        `payload` maps incoming to outgoing payload types, `rtx` incoming payload types to outgoing RTX ones,
        `extensions` incoming to outgoing header extension ids; what is not in a map does not leave. False when the
        sink's section is fed already, a direction does not fit or the pump holds its maximum of routes.
        """
        cdef uint8_t pts[128]
        cdef uint8_t rtxs[128]
        cdef uint8_t exts[256]
        memset(pts, 255, sizeof(pts))
        memset(rtxs, 255, sizeof(rtxs))
        memset(exts, 0, sizeof(exts))
        for a, b in payload.items():
            pts[<uint8_t>a & 127] = <uint8_t>b & 127
        for a, b in rtx.items():
            rtxs[<uint8_t>a & 127] = <uint8_t>b & 127
        for a, b in extensions.items():
            exts[<uint8_t>a] = <uint8_t>b
        pump_lock(self._p)
        ok = pump_route_add(self._p, source, source_section, sink, sink_section, pts, rtxs, exts)
        pump_unlock(self._p)
        return bool(ok)

    # Counters.

    def counters(self):
        """All counters since the start as one COUNTERS record, read at one moment; field `drops` is a DROPS record."""
        record = np.zeros(1, COUNTERS)
        cdef uint64_t[:] view = record.view(np.uint64)
        with nogil:
            pump_lock(self._p)
            pump_counters_read(self._p, <pump_counters *>&view[0],
                               &view[sizeof(pump_counters) // sizeof(uint64_t)])
            pump_unlock(self._p)
        return record[0]

    def legs(self):
        """One LEG_ROW a leg."""
        rows = np.zeros(self._options.max_legs, LEG_ROW)
        cdef uint64_t[:] view = rows.view(np.uint64)
        cdef uint32_t n
        with nogil:
            pump_lock(self._p)
            n = pump_leg_rows(self._p, <leg_row *>&view[0], self._options.max_legs)
            pump_unlock(self._p)
        return rows[:n]

    def streams(self):
        """One STREAM_ROW a stream."""
        rows = np.zeros(self._options.max_streams, STREAM_ROW)
        cdef uint64_t[:] view = rows.view(np.uint64)
        cdef uint32_t n
        with nogil:
            pump_lock(self._p)
            n = pump_stream_rows(self._p, <stream_row *>&view[0], self._options.max_streams)
            pump_unlock(self._p)
        return rows[:n]

    def routes(self):
        """One ROUTE_ROW a route."""
        rows = np.zeros(self._options.max_routes, ROUTE_ROW)
        cdef uint64_t[:] view = rows.view(np.uint64)
        cdef uint32_t n
        with nogil:
            pump_lock(self._p)
            n = pump_route_rows(self._p, <route_row *>&view[0], self._options.max_routes)
            pump_unlock(self._p)
        return rows[:n]

    cdef int _known(self, bint ok, uint32_t leg) except -1:
        if not ok:
            raise KeyError(f"leg {leg} is gone or does not take this")
        return 0
