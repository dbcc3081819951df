/* Commands: what the worker tells the pump about legs and routes, and what it reads back in bulk. */
#include "rtcp.h"
#include "walk.h"

#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

/* How long the pump's receive waits: a tick while there is somebody to report to, longer when idle. */
void receive_wait(struct pump *p)
{
    struct timeval wait = {0, p->leg_count ? TICK_US : 200000};
    if (p->udp.fd >= 0)
        (void)setsockopt(p->udp.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
}

uint32_t pump_leg_add(struct pump *p, uint32_t local_ssrc, const char *cname, uint8_t cname_len, bool rsize)
{
    uint32_t i = 0;
    while (i < p->options.max_legs && p->legs[i].used)
        ++i;
    if (i == p->options.max_legs || cname_len > sizeof p->legs[i].cname)
        return NONE;
    struct leg *leg = &p->legs[i];
    uint16_t generation = (uint16_t)(leg->generation + 1);
    memset(leg, 0, sizeof *leg);
    leg->used = true;
    leg->generation = generation;
    leg->local_ssrc = local_ssrc;
    leg->rsize = rsize;
    leg->cname_len = cname_len;
    memcpy(leg->cname, cname, cname_len);
    memset(leg->section_of, NO_PT, sizeof leg->section_of);
    memset(leg->apt, NO_PT, sizeof leg->apt);
    egress_path_init(&leg->path);
    if (i >= p->leg_high)
        p->leg_high = i + 1;
    if (p->leg_count++ == 0)
        receive_wait(p);
    return leg_handle(p, leg);
}

bool pump_leg_ids(struct pump *p, uint32_t handle, uint8_t mid, uint8_t rid, uint8_t rrid)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg)
        return false;
    leg->mid_ext = mid;
    leg->rid_ext = rid;
    leg->rrid_ext = rrid;
    return true;
}

bool pump_leg_section(struct pump *p, uint32_t handle, const char *mid, uint8_t mid_len, bool video, bool receives,
                      bool sends, bool pli, uint32_t out_ssrc, uint32_t out_rtx_ssrc)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg || leg->section_count == MAX_SECTIONS || mid_len >= sizeof leg->sections[0].mid)
        return false;
    struct section *s = &leg->sections[leg->section_count++];
    memcpy(s->mid, mid, mid_len);
    s->mid_len = mid_len;
    s->video = video;
    s->receives = receives;
    s->sends = sends;
    s->pli = pli;
    s->out_ssrc = out_ssrc;
    s->out_rtx_ssrc = out_rtx_ssrc;
    s->first_route = s->signalled = s->fed_by = NONE;
    return true;
}

bool pump_leg_payload(struct pump *p, uint32_t handle, const struct payload_spec *spec)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg || spec->pt > 127 || (spec->apt > 127 && spec->apt != NO_PT) || spec->section >= leg->section_count ||
        !spec->clock_hz)
        return false;
    /* A payload type that two sections share tells nothing about the section. */
    bool shared = leg->clock_hz[spec->pt] != 0;
    leg->section_of[spec->pt] = shared ? NO_PT : spec->section;
    leg->clock_hz[spec->pt] = spec->clock_hz;
    leg->apt[spec->pt] = spec->apt;
    return true;
}

uint32_t stream_add(struct pump *p, uint32_t leg_index, uint8_t section, uint32_t ssrc, bool rtx)
{
    struct leg *leg = &p->legs[leg_index];
    if (leg->stream_count == MAX_LEG_STREAMS || !p->free_stream_count)
        return NONE;
    uint32_t i = p->free_streams[p->free_stream_count - 1];
    if (!table_put(&p->by_ssrc, leg_index, ssrc, 0, i))
        return NONE;
    --p->free_stream_count;
    struct stream *s = &p->streams[i];
    memset(s, 0, sizeof *s);
    s->used = true;
    s->rtx = rtx;
    s->leg = leg_index;
    s->section = section;
    s->ssrc = ssrc;
    s->primary = NONE;
    leg->streams[leg->stream_count++] = i;
    if (!rtx && leg->sections[section].signalled == NONE)
        leg->sections[section].signalled = i;
    ++p->counters.streams;
    return i;
}

bool pump_leg_ssrc(struct pump *p, uint32_t handle, uint8_t section, uint32_t ssrc, uint32_t rtx_ssrc)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg || section >= leg->section_count)
        return false;
    uint32_t index = (uint32_t)(leg - p->legs);
    if (table_get(&p->by_ssrc, index, ssrc, 0) != TABLE_NONE ||
        (rtx_ssrc && table_get(&p->by_ssrc, index, rtx_ssrc, 0) != TABLE_NONE))
        return false;
    uint32_t media = stream_add(p, index, section, ssrc, false);
    if (media == NONE)
        return false;
    if (rtx_ssrc) {
        uint32_t rtx = stream_add(p, index, section, rtx_ssrc, true);
        if (rtx == NONE)
            return false;
        p->streams[rtx].primary = media;
    }
    return true;
}

static void update_ready(struct leg *leg)
{
    bool was = leg->ready;
    leg->ready = leg->tx && leg->selected.port;
    if (leg->ready && !was)
        leg->report_us = pump_clock_us() + REPORT_US / 4;
}

bool pump_leg_keys(struct pump *p, uint32_t handle, void *rx, void *tx)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg || leg->rx || leg->tx)
        return false;
    leg->rx = rx;
    leg->tx = tx;
    update_ready(leg);
    return true;
}

bool pump_leg_bind(struct pump *p, uint32_t handle, const struct address *a, const struct local_address *local,
                   bool selected)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg)
        return false;
    uint32_t index = (uint32_t)(leg - p->legs);
    uint32_t holder = table_get(&p->by_address, a->hi, a->lo, a->port);
    if (holder != TABLE_NONE && holder != index)
        return false;
    if (holder == TABLE_NONE) {
        if (leg->address_count == MAX_LEG_ADDRESSES || !table_put(&p->by_address, a->hi, a->lo, a->port, index))
            return false;
        leg->addresses[leg->address_count++] = *a;
    }
    if (selected) {
        leg->selected = *a;
        udp_sockaddr(&p->udp, a, &leg->path.to);
        leg->path.from = *local;
        leg->path.no_gso = false;
        update_ready(leg);
    }
    return true;
}

bool pump_leg_unbind(struct pump *p, uint32_t handle, const struct address *a)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg)
        return false;
    for (uint8_t i = 0; i < leg->address_count; ++i) {
        if (!address_equal(&leg->addresses[i], a))
            continue;
        table_remove(&p->by_address, a->hi, a->lo, a->port);
        leg->addresses[i] = leg->addresses[--leg->address_count];
        if (address_equal(&leg->selected, a)) {
            memset(&leg->selected, 0, sizeof leg->selected);
            leg->ready = false;
        }
        return true;
    }
    return false;
}

static void route_remove(struct pump *p, uint32_t index)
{
    struct route *r = &p->routes[index];
    struct section *source = &p->legs[r->source].sections[r->source_section];
    uint32_t *link = &source->first_route;
    while (*link != index)
        link = &p->routes[*link].next_of_source;
    *link = r->next_of_source;
    struct section *sink = &p->legs[r->sink].sections[r->sink_section];
    sink->rewrite = r->rewrite;
    sink->rtx_sequence = r->rtx_sequence;
    sink->was_fed = true;
    sink->fed_by = NONE;
    r->used = false;
    p->free_routes[p->free_route_count++] = index;
    --p->counters.routes;
}

bool pump_leg_remove(struct pump *p, uint32_t handle)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg)
        return false;
    uint32_t index = (uint32_t)(leg - p->legs), kept = 0;
    for (uint8_t i = 0; i < leg->section_count; ++i) {
        while (leg->sections[i].first_route != NONE)
            route_remove(p, leg->sections[i].first_route);
        if (leg->sections[i].fed_by != NONE)
            route_remove(p, leg->sections[i].fed_by);
    }
    for (uint32_t i = 0; i < p->keyframe_count; ++i)
        if (p->keyframes[i] >> 8 != index)
            p->keyframes[kept++] = p->keyframes[i];
    p->keyframe_count = kept;
    for (uint8_t i = 0; i < leg->stream_count; ++i) {
        struct stream *s = &p->streams[leg->streams[i]];
        table_remove(&p->by_ssrc, index, s->ssrc, 0);
        history_free(s->history);
        s->history = NULL;
        s->used = false;
        p->free_streams[p->free_stream_count++] = leg->streams[i];
        --p->counters.streams;
    }
    for (uint8_t i = 0; i < leg->address_count; ++i)
        table_remove(&p->by_address, leg->addresses[i].hi, leg->addresses[i].lo, leg->addresses[i].port);
    leg->used = leg->ready = false;
    leg->rx = leg->tx = NULL;
    while (p->leg_high && !p->legs[p->leg_high - 1].used)
        --p->leg_high;
    if (p->tick_leg >= p->leg_high)
        p->tick_leg = 0;
    if (--p->leg_count == 0)
        receive_wait(p);
    return true;
}

bool pump_leg_bye(struct pump *p, uint32_t handle)
{
    struct leg *leg = leg_of(p, handle);
    if (!leg || !leg->ready)
        return false;
    for (uint8_t i = 0; i < leg->section_count; ++i) {
        uint32_t ssrc = leg->sections[i].out_ssrc;
        uint8_t *out = egress_slot(&p->egress);
        if (!ssrc)
            continue;
        size_t len = rtcp_write_rr(out, ssrc, NULL, 0);
        len += rtcp_write_bye(out + len, ssrc);
        int n = (int)len;
        if (srtp.protect_rtcp(leg->tx, out, &n) == SRTP_OK)
            egress_commit(&p->egress, &leg->path, (uint16_t)n);
    }
    egress_flush(&p->egress);
    return true;
}

bool pump_route_add(struct pump *p, uint32_t source_handle, uint8_t source_section, uint32_t sink_handle,
                    uint8_t sink_section, const uint8_t payload[128], const uint8_t rtx_payload[128],
                    const uint8_t extensions[256])
{
    struct leg *source = leg_of(p, source_handle), *sink = leg_of(p, sink_handle);
    if (!source || !sink || source == sink || source_section >= source->section_count ||
        sink_section >= sink->section_count || !p->free_route_count)
        return false;
    struct section *from = &source->sections[source_section], *to = &sink->sections[sink_section];
    if (!from->receives || !to->sends || !to->out_ssrc || to->fed_by != NONE)
        return false;
    uint32_t index = p->free_routes[--p->free_route_count];
    struct route *r = &p->routes[index];
    memset(r, 0, sizeof *r);
    r->used = true;
    r->source = (uint32_t)(source - p->legs);
    r->sink = (uint32_t)(sink - p->legs);
    r->source_section = source_section;
    r->sink_section = sink_section;
    r->stream = NONE;
    r->out_ssrc = to->out_ssrc;
    r->rtx_ssrc = to->out_rtx_ssrc;
    /* SRTP never sees a number twice: a section fed again continues where its last route ended. */
    r->rewrite = to->rewrite;
    r->rtx_sequence = to->was_fed ? to->rtx_sequence : (uint16_t)(pump_random(p) & 0x7fff);
    r->resend_budget = RESEND_BUDGET;
    memcpy(r->payload, payload, sizeof r->payload);
    memcpy(r->rtx_payload, rtx_payload, sizeof r->rtx_payload);
    memcpy(r->extensions, extensions, sizeof r->extensions);
    r->next_of_source = from->first_route;
    from->first_route = index;
    to->fed_by = index;
    ++p->counters.routes;
    keyframe_request(p, r->source, source_section, pump_clock_us());
    egress_flush(&p->egress);
    return true;
}

uint32_t pump_poll(struct pump *p, struct slow_item *out, uint32_t max)
{
    uint32_t n = 0;
    uint64_t ignored;
    /* Known legs first: strangers can fill only their own ring. */
    for (int k = 0; k < RING_COUNT; ++k) {
        struct ring *ring = &p->rings[k];
        while (ring->head != ring->tail && n < max) {
            const struct slow_item *item = &ring->items[ring->head++ % SLOW_ITEMS];
            struct leg *owner = leg_of(p, item->leg);
            if (owner && owner->slow_waiting)
                --owner->slow_waiting;
            memcpy(&out[n++], item, offsetof(struct slow_item, data) + item->len);
        }
    }
    /* When more waits the descriptor stays readable, and the caller comes again. */
    if (n < max) {
        p->signalled = false;
        if (read(p->event_fd, &ignored, sizeof ignored) < 0)
            p->signalled = false;
    }
    return n;
}

void pump_counters_read(struct pump *p, struct pump_counters *out, uint64_t drops[DROP_COUNT])
{
    *out = p->counters;
    out->packets_out = p->egress.packets;
    out->bytes_out = p->egress.bytes;
    out->gso_runs = p->egress.runs;
    out->receive_calls = p->udp.receive_calls;
    out->send_calls = p->udp.send_calls;
    out->kernel_drops = p->udp.overflow;
    out->legs = p->leg_count;
    memcpy(drops, p->drops, sizeof p->drops);
    drops[DROP_send_full] += p->egress.send_full;
    drops[DROP_send_error] += p->egress.send_error;
}

uint32_t pump_leg_rows(struct pump *p, struct leg_row *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->leg_high && n < max; ++i) {
        const struct leg *leg = &p->legs[i];
        if (leg->used)
            out[n++] = (struct leg_row){leg_handle(p, leg), leg->packets_in, leg->bytes_in, leg->packets_out,
                                        leg->bytes_out,     leg->drops,      leg->last_in_us};
    }
    return n;
}

uint32_t pump_stream_rows(struct pump *p, struct stream_row *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->leg_high; ++i) {
        const struct leg *leg = &p->legs[i];
        for (uint8_t k = 0; leg->used && k < leg->stream_count && n < max; ++k) {
            const struct stream *s = &p->streams[leg->streams[k]];
            uint64_t jitter = s->clock_hz ? (uint64_t)(s->window.jitter16 >> 4) * 1000000 / s->clock_hz : 0;
            out[n++] = (struct stream_row){leg_handle(p, leg), s->section, s->ssrc, s->rtx, s->packets, s->bytes,
                                           window_expected(&s->window), jitter, s->recovered,
                                           s->window.started ? window_lost(&s->window) : 0};
        }
    }
    return n;
}

uint32_t pump_route_rows(struct pump *p, struct route_row *out, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->options.max_routes && n < max && n < p->counters.routes; ++i) {
        const struct route *r = &p->routes[i];
        if (r->used)
            out[n++] = (struct route_row){leg_handle(p, &p->legs[r->source]),
                                          r->source_section,
                                          leg_handle(p, &p->legs[r->sink]),
                                          r->sink_section,
                                          r->packets,
                                          r->bytes,
                                          r->resent,
                                          r->nacked,
                                          r->rtt_us,
                                          r->fraction_lost,
                                          r->clock_hz ? (uint64_t)r->jitter * 1000000 / r->clock_hz : 0,
                                          r->lost};
    }
    return n;
}
