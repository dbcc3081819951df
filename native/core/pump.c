/* See pump.h. A packet's walk reads top to bottom: pump_step -> datagram -> rtp -> forward -> route_send. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "walk.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define YIELD_PACKETS 2048u /* about 2 ms of sending */
#define STUN_COOKIE 0x2112A442u
#define STUN_BINDING_REQUEST 0x0001u

uint64_t pump_clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void pump_lock(struct pump *p)
{
    pthread_mutex_lock(&p->mutex);
}

void pump_unlock(struct pump *p)
{
    pthread_mutex_unlock(&p->mutex);
}

void slow_push(struct pump *p, enum slow_ring which, uint8_t kind, uint32_t leg, const struct address *from,
               const struct local_address *to, const uint8_t *data, uint32_t len)
{
    struct ring *ring = &p->rings[which];
    if (len > SLOW_BYTES) {
        drop(p, NULL, DROP_oversize);
        return;
    }
    struct leg *owner = leg_of(p, leg);
    if (ring->tail - ring->head == SLOW_ITEMS || (owner && owner->slow_waiting == MAX_LEG_SLOW)) {
        drop(p, owner, DROP_slow_full);
        return;
    }
    if (owner)
        ++owner->slow_waiting;
    struct slow_item *item = &ring->items[ring->tail++ % SLOW_ITEMS];
    item->leg = leg;
    item->kind = kind;
    item->from = *from;
    item->to = *to;
    item->len = (uint16_t)len;
    memcpy(item->data, data, len);
    if (!p->signalled && p->event_fd >= 0) {
        uint64_t one = 1;
        p->signalled = write(p->event_fd, &one, sizeof one) == sizeof one;
    }
}

void route_send(struct pump *p, struct route *r, const uint8_t *packet, uint32_t len, const struct rtp_view *v,
                uint64_t out_sequence, bool resend)
{
    struct leg *sink = &p->legs[r->sink];
    uint8_t *out = egress_slot(&p->egress);
    uint8_t rtx_pt = resend && r->rtx_ssrc ? r->rtx_payload[v->pt] : NO_PT;
    uint32_t ssrc = r->out_ssrc;
    uint8_t pt = r->payload[v->pt];
    if (rtx_pt != NO_PT) {
        /* RFC 4588 §4: the original sequence number goes before the payload. */
        memcpy(out, packet, v->payload);
        put16(out + v->payload, (uint16_t)out_sequence);
        memcpy(out + v->payload + 2, packet + v->payload, len - v->payload);
        len += 2;
        out_sequence = r->rtx_sequence++;
        ssrc = r->rtx_ssrc;
        pt = rtx_pt;
    } else {
        memcpy(out, packet, len);
    }
    out[1] = (uint8_t)((out[1] & 0x80) | pt);
    put16(out + 2, (uint16_t)out_sequence);
    put32(out + 4, v->timestamp + r->rewrite.timestamp_offset);
    put32(out + 8, ssrc);
    if (v->ext_len)
        rewrite_extensions(out, v, r->extensions);
    int n = (int)len;
    if (srtp.protect(sink->tx, out, &n) != SRTP_OK) {
        drop(p, sink, DROP_protect_failed);
        return;
    }
    egress_commit(&p->egress, &sink->path, (uint16_t)n);
    ++sink->packets_out;
    sink->bytes_out += (uint32_t)n;
    if (resend) {
        ++r->resent;
        ++p->counters.resent;
        r->resend_budget -= n;
    } else {
        ++r->packets;
        r->bytes += len - v->payload;
        /* Retransmissions may take 20 % of what the route carries. */
        r->resend_budget += n / 5;
        if (r->resend_budget > RESEND_BUDGET)
            r->resend_budget = RESEND_BUDGET;
    }
}

static void forward(struct pump *p, struct leg *leg, struct route *r, uint32_t stream, const uint8_t *packet,
                    uint32_t len, const struct rtp_view *v, uint64_t sequence, enum window_verdict verdict,
                    uint64_t now)
{
    if (!p->legs[r->sink].ready) {
        r->stream = NONE; /* when the path is back the numbers go on from what was sent */
        drop(p, &p->legs[r->sink], DROP_no_path);
        return;
    }
    if (r->stream != stream) {
        bool taken = r->stream != NONE && !p->streams[r->stream].ended && now - r->rewrite.last_us < SWITCH_US;
        if (taken || verdict == WINDOW_LATE) {
            drop(p, leg, DROP_layer_gate);
            return;
        }
        r->stream = stream;
        r->clock_hz = p->streams[stream].clock_hz;
        rewrite_join(&r->rewrite, sequence, v->timestamp, r->clock_hz, now, pump_random(p));
    } else if (verdict == WINDOW_RESTART) {
        rewrite_join(&r->rewrite, sequence, v->timestamp, r->clock_hz, now, pump_random(p));
    }
    if (r->payload[v->pt] == NO_PT) {
        rewrite_skip(&r->rewrite, sequence);
        drop(p, leg, DROP_no_payload);
        return;
    }
    if (sequence + r->rewrite.offset < r->rewrite.valid_from) {
        drop(p, leg, DROP_stale);
        return;
    }
    uint64_t out = rewrite_sequence(&r->rewrite, sequence, v->timestamp, now);
    route_send(p, r, packet, len, v, out, false);
}

/* MID, then a payload type that only one section has (RFC 9143 §9.2). */
static uint8_t section_find(const struct leg *leg, const uint8_t *packet, const struct rtp_view *v)
{
    size_t data, len;
    if (ext_find(packet, v, leg->mid_ext, &data, &len)) {
        for (uint8_t i = 0; i < leg->section_count; ++i)
            if (leg->sections[i].mid_len == len && !memcmp(leg->sections[i].mid, packet + data, len))
                return i;
        return NO_PT;
    }
    return leg->section_of[v->pt];
}

static uint32_t stream_learn(struct pump *p, struct leg *leg, const uint8_t *packet, const struct rtp_view *v)
{
    uint8_t at = section_find(leg, packet, v);
    if (at == NO_PT) {
        drop(p, leg, DROP_no_section);
        return NONE;
    }
    bool rtx = leg->apt[v->pt] != NO_PT;
    uint32_t i = stream_add(p, (uint32_t)(leg - p->legs), at, v->ssrc, rtx);
    if (i == NONE) {
        drop(p, leg, DROP_stream_table_full);
        return NONE;
    }
    struct stream *s = &p->streams[i];
    size_t data, len;
    if ((ext_find(packet, v, rtx ? leg->rrid_ext : leg->rid_ext, &data, &len)) && len < sizeof s->rid) {
        memcpy(s->rid, packet + data, len);
        s->rid_len = (uint8_t)len;
    }
    return i;
}

/* The stream an RTX stream repairs: signalled, of the same RID, or the only one of its section. */
static uint32_t rtx_primary(struct pump *p, struct leg *leg, struct stream *rtx)
{
    if (rtx->primary != NONE)
        return rtx->primary;
    uint32_t found = NONE, count = 0;
    for (uint8_t i = 0; i < leg->stream_count; ++i) {
        struct stream *s = &p->streams[leg->streams[i]];
        if (s->rtx || s->section != rtx->section)
            continue;
        if (rtx->rid_len && s->rid_len == rtx->rid_len && !memcmp(s->rid, rtx->rid, s->rid_len))
            return rtx->primary = leg->streams[i];
        found = leg->streams[i];
        ++count;
    }
    return rtx->primary = count == 1 ? found : NONE;
}

static void rtp(struct pump *p, uint32_t leg_index, uint8_t *packet, uint32_t len, uint64_t now)
{
    struct leg *leg = &p->legs[leg_index];
    struct rtp_view v;
    ++p->counters.rtp_in;
    if (len > SLOT_BYTES - SRTP_MAX_TRAILER - 2) {
        drop(p, leg, DROP_oversize);
        return;
    }
    if (!rtp_parse(packet, len, &v)) {
        drop(p, leg, DROP_malformed);
        return;
    }
    uint32_t index = table_get(&p->by_ssrc, leg_index, v.ssrc, 0);
    bool fresh;
    if (!ssrc_admitted(leg, v.ssrc, &fresh) || (index == NONE && leg->stream_count == MAX_LEG_STREAMS)) {
        drop(p, leg, DROP_stream_table_full);
        return;
    }
    int n = (int)len;
    int status = srtp.unprotect(leg->rx, packet, &n);
    if (status != SRTP_OK) {
        drop(p, leg, srtp_drop_reason(status));
        return;
    }
    /* From here on the packet is the peer's. */
    if (fresh)
        leg->ssrcs[leg->ssrc_count++] = v.ssrc;
    len = (uint32_t)n;
    if (len < v.payload) {
        drop(p, leg, DROP_malformed);
        return;
    }
    ++leg->packets_in;
    leg->bytes_in += len;
    leg->last_in_us = now;
    if (v.padding) {
        uint8_t padding = len > v.payload ? packet[len - 1] : 0;
        if (!padding || padding > len - v.payload) {
            drop(p, leg, DROP_bad_padding);
            return;
        }
    }
    if (index == NONE && (index = stream_learn(p, leg, packet, &v)) == NONE)
        return;
    struct stream *s = &p->streams[index];
    struct section *section = &leg->sections[s->section];
    uint64_t sequence;
    if (!section->receives) {
        drop(p, leg, DROP_not_receiving);
        return;
    }
    if (leg->apt[v.pt] != NO_PT) {
        ++s->packets;
        s->bytes += len - v.payload;
        if (window_update(&s->window, v.sequence, &sequence) == WINDOW_DUPLICATE) {
            drop(p, leg, DROP_duplicate);
            return;
        }
        uint32_t padding = v.padding ? packet[len - 1] : 0;
        if (len - padding < v.payload + 2u) {
            drop(p, leg, DROP_rtx_padding);
            return;
        }
        uint32_t primary = s->rtx ? rtx_primary(p, leg, s) : NONE;
        if (primary == NONE) {
            drop(p, leg, DROP_rtx_orphan);
            return;
        }
        /* Back to the packet it was: RFC 4588 §4, the original sequence number leads the payload. */
        uint16_t original = get16(packet + v.payload);
        uint8_t pt = leg->apt[v.pt];
        memmove(packet + 2, packet, v.payload);
        packet += 2;
        len -= 2;
        index = primary;
        s = &p->streams[index];
        packet[1] = (uint8_t)((packet[1] & 0x80) | pt);
        put16(packet + 2, original);
        put32(packet + 8, s->ssrc);
        v.pt = pt;
        v.sequence = original;
        v.ssrc = s->ssrc;
        if (!s->window.started) {
            drop(p, leg, DROP_rtx_orphan);
            return;
        }
        /* A repair never moves the window: of something not missed yet, or long gone, it is a bandwidth probe. */
        int64_t ahead = (int64_t)(window_extend(&s->window, original) - s->window.max);
        if (ahead > 0 || ahead < -(int64_t)WINDOW_BITS + 1) {
            drop(p, leg, DROP_rtx_orphan);
            return;
        }
        enum window_verdict verdict = window_update(&s->window, original, &sequence);
        if (verdict != WINDOW_LATE) {
            drop(p, leg, DROP_duplicate);
            return;
        }
        ++s->recovered;
        ++p->counters.recovered;
        for (uint32_t r = section->first_route; r != NONE; r = p->routes[r].next_of_source)
            forward(p, leg, &p->routes[r], index, packet, len, &v, sequence, verdict, now);
        if (s->history)
            history_put(s->history, sequence, packet, (uint16_t)len, now);
        return;
    }
    enum window_verdict verdict = window_update(&s->window, v.sequence, &sequence);
    if (verdict == WINDOW_DUPLICATE || verdict == WINDOW_PENDING) {
        drop(p, leg, verdict == WINDOW_DUPLICATE ? DROP_duplicate : DROP_restarting);
        return;
    }
    ++s->packets;
    s->bytes += len - v.payload;
    s->clock_hz = leg->clock_hz[v.pt];
    if (verdict != WINDOW_LATE) {
        window_jitter(&s->window, (uint32_t)(now * s->clock_hz / 1000000), v.timestamp);
        s->last_timestamp = v.timestamp;
        s->last_us = now;
        s->ended = false;
    }
    if (section->first_route == NONE) {
        drop(p, leg, DROP_no_route);
        return;
    }
    if (!s->history && section->video)
        s->history = history_new(p->options.video_history_bytes, HISTORY_INDEX);
    else if (!s->history)
        s->history = history_new(p->options.audio_history_bytes, 128);
    if (s->history)
        history_put(s->history, sequence, packet, (uint16_t)len, now);
    for (uint32_t r = section->first_route; r != NONE; r = p->routes[r].next_of_source)
        forward(p, leg, &p->routes[r], index, packet, len, &v, sequence, verdict, now);
}

static void datagram(struct pump *p, uint8_t *data, uint32_t len, const struct address *from,
                     const struct local_address *to, uint32_t leg, uint64_t now)
{
    struct leg *known = leg == NONE ? NULL : &p->legs[leg];
    uint32_t handle = known ? leg_handle(p, known) : NONE;
    ++p->counters.datagrams_in;
    p->counters.bytes_in += len;
    if (!len) {
        drop(p, known, DROP_empty);
        return;
    }
    enum packet_class class = packet_class_of(data, len);
    switch (class) {
    case PACKET_STUN:
        ++p->counters.stun_in;
        if (len < 20 || get32(data + 4) != STUN_COOKIE || get16(data) != STUN_BINDING_REQUEST ||
            get16(data + 2) != len - 20 || len % 4) {
            drop(p, known, DROP_stun_malformed);
            return;
        }
        slow_push(p, known ? RING_KNOWN : RING_STRANGER, SLOW_STUN, handle, from, to, data, len);
        return;
    case PACKET_DTLS:
        ++p->counters.dtls_in;
        if (!known)
            drop(p, NULL, DROP_dtls_unvalidated);
        else
            slow_push(p, RING_KNOWN, SLOW_DTLS, handle, from, to, data, len);
        return;
    case PACKET_RTP:
    case PACKET_RTCP:
        if (!known)
            drop(p, NULL, DROP_unknown_source);
        else if (!known->rx)
            drop(p, known, DROP_no_keys);
        else if (class == PACKET_RTP)
            rtp(p, leg, data, len, now);
        else
            feedback_receive(p, known, data, len, now);
        return;
    case PACKET_OTHER:
        drop(p, known, DROP_not_ours);
        return;
    }
}

void pump_inject(struct pump *p, uint8_t *data, uint32_t len, const struct address *from,
                 const struct local_address *to, uint64_t now)
{
    datagram(p, data, len, from, to, table_get(&p->by_address, from->hi, from->lo, from->port), now);
}

void pump_tick(struct pump *p, uint64_t now)
{
    if (now < p->next_tick_us)
        return;
    /* Every leg is looked at once a REPORT_US, a slice of them each tick. */
    uint32_t ticks = 1 + (uint32_t)((now - p->next_tick_us) / TICK_US);
    uint64_t slice = ((uint64_t)p->leg_high * ticks * TICK_US + REPORT_US - 1) / REPORT_US;
    p->next_tick_us = now + TICK_US;
    if (slice > p->leg_high)
        slice = p->leg_high;
    while (slice--) {
        struct leg *leg = &p->legs[p->tick_leg];
        p->tick_leg = p->tick_leg + 1 < p->leg_high ? p->tick_leg + 1 : 0;
        if (leg->used && leg->ready && now >= leg->report_us)
            feedback_report(p, leg, now);
    }
    if (p->keyframe_count)
        keyframe_flush(p, now);
    egress_flush(&p->egress);
}

uint32_t pump_step(struct pump *p, bool block)
{
    int n = udp_receive(&p->udp, p->received, block);
    uint32_t handled = 0;
    pump_lock(p);
    uint64_t now = pump_clock_us(), sent = p->egress.packets;
    ++p->counters.wakeups;
    for (int i = 0; i < n; ++i) {
        struct udp_received *r = &p->received[i];
        uint32_t leg = table_get(&p->by_address, r->from.hi, r->from.lo, r->from.port);
        uint32_t segment = r->segment ? r->segment : r->len;
        uint32_t at = 0;
        if (r->truncated) {
            drop(p, NULL, DROP_truncated);
            continue;
        }
        do {
            uint32_t len = r->len - at < segment ? r->len - at : segment;
            datagram(p, r->data + at, len, &r->from, &r->to, leg, now);
            ++handled;
            at += segment;
        } while (at < r->len);
        /* A large batch times a large fan-out must not keep commands waiting: hand the mutex over in between. */
        if (p->egress.packets + p->egress.used - sent >= YIELD_PACKETS && i + 1 < n) {
            egress_flush(&p->egress);
            pump_unlock(p);
            pump_lock(p);
            now = pump_clock_us();
            sent = p->egress.packets;
        }
    }
    if (p->egress.used)
        egress_flush(&p->egress);
    pump_tick(p, now);
    pump_unlock(p);
    return handled;
}

static void *pump_thread(void *argument)
{
    struct pump *p = argument;
    /* Media goes before handshakes on a shared core; refused without the privilege, then the loop steps back itself. */
    (void)setpriority(PRIO_PROCESS, 0, -10);
    while (!p->stopping)
        pump_step(p, true);
    return NULL;
}

bool pump_thread_start(struct pump *p)
{
    p->stopping = false;
    receive_wait(p);
    p->threaded = pthread_create(&p->thread, NULL, pump_thread, p) == 0;
    return p->threaded;
}

void pump_thread_stop(struct pump *p)
{
    if (!p->threaded)
        return;
    p->stopping = true; /* seen when SO_RCVTIMEO ends the wait */
    pthread_join(p->thread, NULL);
    p->threaded = false;
}

struct pump *pump_new(int fd, int family, const struct pump_options *options)
{
    struct pump *p = calloc(1, sizeof *p);
    pthread_mutexattr_t attributes;
    struct timespec wall;
    bool ok;
    if (!p)
        return NULL;
    p->options = *options;
    p->event_fd = -1;
    pthread_mutexattr_init(&attributes);
    /* Priority inheritance hands the mutex to the waiter: neither side starves, none waits for a preempted holder. */
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&p->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    ok = udp_open(&p->udp, fd, family) && egress_init(&p->egress, &p->udp) &&
         table_init(&p->by_address, options->max_legs * MAX_LEG_ADDRESSES, options->seed) &&
         table_init(&p->by_ssrc, options->max_streams, options->seed ^ 0x5bd1e995);
    p->legs = calloc(options->max_legs, sizeof *p->legs);
    p->streams = calloc(options->max_streams, sizeof *p->streams);
    p->routes = calloc(options->max_routes, sizeof *p->routes);
    p->free_streams = calloc(options->max_streams, sizeof *p->free_streams);
    p->free_routes = calloc(options->max_routes, sizeof *p->free_routes);
    p->keyframes = calloc((size_t)options->max_legs * MAX_SECTIONS, sizeof *p->keyframes);
    for (int i = 0; i < RING_COUNT; ++i)
        ok = (p->rings[i].items = calloc(SLOW_ITEMS, sizeof *p->rings[i].items)) && ok;
    p->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!ok || !p->legs || !p->streams || !p->routes || !p->free_streams || !p->free_routes || !p->keyframes ||
        p->event_fd < 0) {
        pump_free(p);
        return NULL;
    }
    for (uint32_t i = 0; i < options->max_streams; ++i)
        p->free_streams[p->free_stream_count++] = options->max_streams - 1 - i;
    for (uint32_t i = 0; i < options->max_routes; ++i)
        p->free_routes[p->free_route_count++] = options->max_routes - 1 - i;
    p->udp.gso = fd >= 0;
    p->random = options->seed | 1;
    clock_gettime(CLOCK_REALTIME, &wall);
    uint64_t now = pump_clock_us();
    uint64_t ntp = ((uint64_t)wall.tv_sec + 2208988800u) << 32 | ((uint64_t)wall.tv_nsec << 32) / 1000000000u;
    p->ntp_offset = ntp - ntp_at(p, now);
    return p;
}

void pump_free(struct pump *p)
{
    if (!p)
        return;
    pump_thread_stop(p);
    for (uint32_t i = 0; p->streams && i < p->options.max_streams; ++i)
        history_free(p->streams[i].history);
    for (int i = 0; i < RING_COUNT; ++i)
        free(p->rings[i].items);
    if (p->event_fd >= 0)
        close(p->event_fd);
    table_free(&p->by_address);
    table_free(&p->by_ssrc);
    egress_free(&p->egress);
    udp_close(&p->udp);
    free(p->legs);
    free(p->streams);
    free(p->routes);
    free(p->free_streams);
    free(p->free_routes);
    free(p->keyframes);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

int pump_send(struct pump *p, const struct address *to, const struct local_address *from, const uint8_t *data,
              size_t len)
{
    struct sockaddr_any s;
    struct iovec vector = {(void *)(uintptr_t)data, len};
    _Alignas(16) uint8_t control[PKTINFO_SPACE];
    struct msghdr m = {.msg_name = &s.sa, .msg_iov = &vector, .msg_iovlen = 1};
    udp_sockaddr(&p->udp, to, &s);
    m.msg_namelen = s.len;
    m.msg_controllen = udp_pktinfo(&p->udp, from, (struct cmsghdr *)control);
    m.msg_control = m.msg_controllen ? control : NULL;
    if (p->udp.fd < 0)
        return ENOTCONN;
    return sendmsg(p->udp.fd, &m, MSG_DONTWAIT) < 0 ? errno : 0;
}
