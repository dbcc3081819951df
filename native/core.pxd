# Every C declaration Cython may call; core/pump.h is the contract.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "srtp.h":
    ctypedef int (*srtp_function)(void *session, void *packet, int *len) noexcept nogil
    struct srtp_functions:
        srtp_function protect, unprotect, protect_rtcp, unprotect_rtcp
    srtp_functions srtp

cdef extern from "drops.h":
    enum: DROP_COUNT

cdef extern from "table.h":
    struct address:
        uint64_t hi, lo
        uint32_t port
    struct local_address:
        uint64_t hi, lo

cdef extern from "egress.h":
    struct egress:
        uint8_t *capture
        uint32_t capture_size, capture_used
    void egress_flush(egress *e) noexcept nogil

cdef extern from "udp.h":
    struct udp:
        bint gso

cdef extern from "pump.h":
    enum: NONE
    enum: SLOW_ITEMS
    enum: SLOW_BYTES
    struct slow_item:
        uint32_t leg
        uint16_t len
        uint8_t kind
        address source "from"
        local_address to
        uint8_t data[1500]
    struct pump_options:
        uint32_t max_legs, max_streams, max_routes
        uint32_t history_ms, video_history_bytes, audio_history_bytes
        uint64_t seed
    struct pump_counters:
        uint64_t wakeups
    struct payload_spec:
        uint8_t pt, section, apt
        uint32_t clock_hz
    struct leg_row:
        uint64_t leg
    struct stream_row:
        uint64_t leg
    struct route_row:
        uint64_t source
    struct pump:
        egress egress
        udp udp
        int event_fd
    uint64_t pump_clock_us() noexcept nogil
    pump *pump_new(int fd, int family, const pump_options *options) noexcept nogil
    void pump_free(pump *p) noexcept nogil
    void pump_lock(pump *p) noexcept nogil
    void pump_unlock(pump *p) noexcept nogil
    uint32_t pump_step(pump *p, bint block) noexcept nogil
    bint pump_thread_start(pump *p) noexcept nogil
    void pump_thread_stop(pump *p) noexcept nogil
    void pump_inject(pump *p, uint8_t *data, uint32_t len, const address *source, const local_address *to,
                     uint64_t now) noexcept nogil
    void pump_tick(pump *p, uint64_t now) noexcept nogil
    uint32_t pump_leg_add(pump *p, uint32_t local_ssrc, const char *cname, uint8_t cname_len, bint rsize) noexcept nogil
    bint pump_leg_ids(pump *p, uint32_t leg, uint8_t mid, uint8_t rid, uint8_t rrid) noexcept nogil
    bint pump_leg_section(pump *p, uint32_t leg, const char *mid, uint8_t mid_len, bint video, bint receives,
                          bint sends, bint pli, uint32_t out_ssrc, uint32_t out_rtx_ssrc) noexcept nogil
    bint pump_leg_payload(pump *p, uint32_t leg, const payload_spec *spec) noexcept nogil
    bint pump_leg_ssrc(pump *p, uint32_t leg, uint8_t section, uint32_t ssrc, uint32_t rtx_ssrc) noexcept nogil
    bint pump_leg_keys(pump *p, uint32_t leg, void *rx, void *tx) noexcept nogil
    bint pump_leg_bind(pump *p, uint32_t leg, const address *a, const local_address *local,
                       bint selected) noexcept nogil
    bint pump_leg_unbind(pump *p, uint32_t leg, const address *a) noexcept nogil
    bint pump_leg_remove(pump *p, uint32_t leg) noexcept nogil
    bint pump_leg_bye(pump *p, uint32_t leg) noexcept nogil
    bint pump_route_add(pump *p, uint32_t source, uint8_t source_section, uint32_t sink, uint8_t sink_section,
                        const uint8_t *payload, const uint8_t *rtx_payload, const uint8_t *extensions) noexcept nogil
    uint32_t pump_poll(pump *p, slow_item *out, uint32_t max) noexcept nogil
    void pump_counters_read(pump *p, pump_counters *out, uint64_t *drops) noexcept nogil
    uint32_t pump_leg_rows(pump *p, leg_row *out, uint32_t max) noexcept nogil
    uint32_t pump_stream_rows(pump *p, stream_row *out, uint32_t max) noexcept nogil
    uint32_t pump_route_rows(pump *p, route_row *out, uint32_t max) noexcept nogil
    int pump_send(pump *p, const address *to, const local_address *source, const uint8_t *data,
                  size_t len) noexcept nogil

# The list of drop reasons, expanded once more into Python's names.
cdef extern from *:
    """
    #include "drops.h"
    static const char *const drop_names[] = {
    #define X(name, text) #name,
    DROP_REASONS(X)
    #undef X
    };
    static const char *const drop_texts[] = {
    #define X(name, text) text,
    DROP_REASONS(X)
    #undef X
    };
    """
    const char *drop_names[]
    const char *drop_texts[]
