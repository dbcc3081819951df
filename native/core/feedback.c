/* RTCP through the pump: what peers report and ask for, what the relay reports and asks for, hop by hop.
 *
 * An RTCP packet may only speak of SSRCs that are its sender's to speak of: its own streams (SR, BYE) and what the
 * relay sends it (reports, NACK, PLI, FIR). Everything else is dropped and counted.
 */
#include "rtcp.h"
#include "walk.h"

/* The middle 32 bits of an NTP time: the unit of LSR and DLSR (RFC 3550 §6.4.1). */
static uint32_t ntp_middle(uint64_t ntp)
{
    return (uint32_t)(ntp >> 16);
}

static struct section *sink_section(struct leg *leg, uint32_t ssrc)
{
    if (ssrc)
        for (uint8_t i = 0; i < leg->section_count; ++i)
            if (leg->sections[i].out_ssrc == ssrc || leg->sections[i].out_rtx_ssrc == ssrc)
                return &leg->sections[i];
    return NULL;
}

static void send_compound(struct pump *p, struct leg *leg, const uint8_t *compound, size_t len)
{
    int n = (int)len;
    uint8_t *out = egress_slot(&p->egress);
    memcpy(out, compound, len);
    if (srtp.protect_rtcp(leg->tx, out, &n) != SRTP_OK) {
        drop(p, leg, DROP_protect_failed);
        return;
    }
    egress_commit(&p->egress, &leg->path, (uint16_t)n);
    ++leg->packets_out;
    leg->bytes_out += (uint32_t)n;
}

void keyframe_request(struct pump *p, uint32_t leg_index, uint8_t at, uint64_t now)
{
    struct leg *leg = &p->legs[leg_index];
    struct section *section = &leg->sections[at];
    if (!section->video || section->keyframe_pending)
        return;
    section->keyframe_pending = true;
    p->keyframes[p->keyframe_count++] = leg_index << 8 | at;
    if (!section->keyframe_us || now - section->keyframe_us >= KEYFRAME_US)
        keyframe_flush(p, now);
}

/* The stream a request should name: the one being forwarded, else any of the section. */
static uint32_t keyframe_target(struct pump *p, const struct section *section)
{
    for (uint32_t r = section->first_route; r != NONE; r = p->routes[r].next_of_source)
        if (p->routes[r].stream != NONE)
            return p->routes[r].stream;
    return section->signalled;
}

void keyframe_flush(struct pump *p, uint64_t now)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->keyframe_count; ++i) {
        uint32_t leg_index = p->keyframes[i] >> 8;
        struct leg *leg = &p->legs[leg_index];
        struct section *section = &leg->sections[p->keyframes[i] & 255];
        uint32_t target = leg->used ? keyframe_target(p, section) : NONE;
        bool early = section->keyframe_us && now - section->keyframe_us < KEYFRAME_US;
        if (leg->used && (early || !leg->ready || target == NONE)) {
            p->keyframes[kept++] = p->keyframes[i];
            continue;
        }
        section->keyframe_pending = false;
        if (!leg->used)
            continue;
        uint8_t compound[64];
        size_t len = leg->rsize ? 0 : rtcp_write_rr(compound, leg->local_ssrc, NULL, 0);
        if (section->pli)
            len += rtcp_write_pli(compound + len, leg->local_ssrc, p->streams[target].ssrc);
        else
            len += rtcp_write_fir(compound + len, leg->local_ssrc, p->streams[target].ssrc, section->fir_number++);
        send_compound(p, leg, compound, len);
        section->keyframe_us = now;
        ++p->counters.keyframe_requests_out;
    }
    p->keyframe_count = kept;
}

static void keyframe_asked(struct pump *p, struct leg *leg, uint32_t media, uint64_t now)
{
    struct section *sink = sink_section(leg, media);
    if (!sink) {
        drop(p, leg, DROP_rtcp_foreign_ssrc);
        return;
    }
    ++p->counters.keyframe_requests_in;
    if (sink->fed_by != NONE)
        keyframe_request(p, p->routes[sink->fed_by].source, p->routes[sink->fed_by].source_section, now);
}

static void resend(struct pump *p, struct route *r, uint16_t wanted, uint64_t now)
{
    uint64_t out = r->rewrite.last_sequence + (uint64_t)(int64_t)(int16_t)(uint16_t)(wanted - (uint16_t)r->rewrite.last_sequence);
    struct resend *memory = &r->resends[out % RESEND_SLOTS];
    uint64_t interval = r->rtt_us > RESEND_MIN_US ? r->rtt_us : RESEND_MIN_US;
    struct rtp_view v;
    uint16_t len;
    ++r->nacked;
    if (!r->rewrite.started || r->stream == NONE || out > r->rewrite.last_sequence || out < r->rewrite.valid_from)
        return;
    if (memory->sequence == out && now - memory->when_us < interval)
        return;
    struct history *history = p->streams[r->stream].history;
    const uint8_t *packet =
        history ? history_get(history, out - r->rewrite.offset, now, p->options.history_ms, &len) : NULL;
    if (!packet || r->resend_budget < len || !rtp_parse(packet, len, &v) || r->payload[v.pt] == NO_PT)
        return;
    memory->sequence = out;
    memory->when_us = now;
    route_send(p, r, packet, len, &v, out, true);
}

/* `asked` counts over the whole compound: misses cost time though they cost no budget. */
static void nacked(struct pump *p, struct leg *leg, const struct rtcp_packet *packet, uint32_t *asked, uint64_t now)
{
    struct section *sink = sink_section(leg, get32(packet->body + 8));
    if (!sink) {
        drop(p, leg, DROP_rtcp_foreign_ssrc);
        return;
    }
    if (sink->fed_by == NONE)
        return;
    struct route *r = &p->routes[sink->fed_by];
    for (size_t at = 12; at + 4 <= packet->len && r->resend_budget > 0 && *asked < RESEND_SLOTS; at += 4) {
        *asked += 1 + (uint32_t)__builtin_popcount(get16(packet->body + at + 2));
        uint16_t first = get16(packet->body + at), mask = get16(packet->body + at + 2);
        resend(p, r, first, now);
        for (unsigned bit = 0; bit < 16; ++bit)
            if (mask >> bit & 1)
                resend(p, r, (uint16_t)(first + bit + 1), now);
    }
}

static void reported(struct pump *p, struct leg *leg, const uint8_t *blocks, size_t bytes, unsigned count, uint64_t now)
{
    for (unsigned i = 0; i < count && (i + 1) * 24u <= bytes; ++i) {
        struct report_block b;
        rtcp_read_block(blocks + i * 24u, &b);
        struct section *sink = sink_section(leg, b.ssrc);
        if (!sink) {
            drop(p, leg, DROP_rtcp_foreign_ssrc);
            continue;
        }
        if (sink->fed_by == NONE || b.ssrc != sink->out_ssrc)
            continue;
        struct route *r = &p->routes[sink->fed_by];
        r->fraction_lost = b.fraction;
        r->lost = b.lost;
        r->jitter = b.jitter;
        if (b.lsr) {
            uint32_t rtt = ntp_middle(ntp_at(p, now)) - b.lsr - b.dlsr;
            /* Above 30 s it is no round trip but a wrong echo. */
            if (rtt < 30u << 16)
                r->rtt_us = (uint32_t)(((uint64_t)rtt * 1000000) >> 16);
        }
    }
}

static void sender_reported(struct pump *p, struct leg *leg, const uint8_t *body, uint64_t now)
{
    uint32_t index = table_get(&p->by_ssrc, (uint64_t)(leg - p->legs), get32(body + 4), 0);
    if (index == NONE) {
        drop(p, leg, DROP_rtcp_foreign_ssrc);
        return;
    }
    struct stream *s = &p->streams[index];
    s->sr_ntp = get64(body + 8);
    s->sr_timestamp = get32(body + 16);
    s->sr_us = now;
    s->has_sr = true;
    int64_t offset = (int64_t)(ntp_at(p, now) - s->sr_ntp);
    int64_t change = offset - leg->ntp_offset;
    /* The smallest difference had the least queueing. One for the whole leg keeps its streams in step; a change of
     * more than 2 s is the peer's clock being set. */
    if (!leg->has_ntp_offset || change < 0 || change > (int64_t)2 << 32)
        leg->ntp_offset = offset;
    leg->has_ntp_offset = true;
}

void feedback_receive(struct pump *p, struct leg *leg, uint8_t *data, uint32_t len, uint64_t now)
{
    struct rtcp_packet packet;
    bool ok = true;
    size_t at = 0;
    int n = (int)len;
    ++p->counters.rtcp_in;
    /* SRTCP is at least a header, an index and a tag: libsrtp is never shown less. */
    if (len < 8 + 4 + 10 || len > SLOT_BYTES) {
        drop(p, leg, DROP_rtcp_malformed);
        return;
    }
    uint32_t sender = get32(data + 4), asked = 0;
    bool fresh;
    if (!ssrc_admitted(leg, sender, &fresh)) {
        drop(p, leg, DROP_stream_table_full);
        return;
    }
    if (srtp.unprotect_rtcp(leg->rx, data, &n) != SRTP_OK) {
        drop(p, leg, DROP_rtcp_bad_auth);
        return;
    }
    if (fresh)
        leg->ssrcs[leg->ssrc_count++] = sender;
    /* The whole compound must hold together before any of it counts. */
    while (rtcp_next(data, (size_t)n, &at, &packet, &ok))
        ;
    if (!ok) {
        drop(p, leg, DROP_rtcp_malformed);
        return;
    }
    leg->last_in_us = now;
    for (at = 0; rtcp_next(data, (size_t)n, &at, &packet, &ok);) {
        const uint8_t *body = packet.body;
        if (packet.type == RTCP_SR && packet.len >= 28) {
            sender_reported(p, leg, body, now);
            reported(p, leg, body + 28, packet.len - 28, packet.count, now);
        } else if (packet.type == RTCP_RR && packet.len >= 8) {
            reported(p, leg, body + 8, packet.len - 8, packet.count, now);
        } else if (packet.type == RTCP_BYE) {
            for (unsigned i = 0; i < packet.count && 8 + 4 * i <= packet.len; ++i) {
                uint32_t index = table_get(&p->by_ssrc, (uint64_t)(leg - p->legs), get32(body + 4 + 4 * i), 0);
                if (index == NONE)
                    drop(p, leg, DROP_rtcp_foreign_ssrc);
                else
                    p->streams[index].ended = true;
            }
        } else if (packet.type == RTCP_RTPFB && packet.count == RTPFB_NACK && packet.len >= 16) {
            nacked(p, leg, &packet, &asked, now);
        } else if (packet.type == RTCP_PSFB && packet.count == PSFB_PLI && packet.len >= 12) {
            keyframe_asked(p, leg, get32(body + 8), now);
        } else if (packet.type == RTCP_PSFB && packet.count == PSFB_FIR) {
            for (size_t i = 12; i + 8 <= packet.len; i += 8)
                keyframe_asked(p, leg, get32(body + i), now);
        }
    }
}

static unsigned report_blocks(struct pump *p, struct leg *leg, struct report_block *blocks, uint64_t now)
{
    unsigned count = 0;
    for (uint8_t i = 0; i < leg->stream_count && count < 31; ++i) {
        struct stream *s = &p->streams[leg->streams[i]];
        if (!s->window.started)
            continue;
        int64_t lost = window_lost(&s->window);
        blocks[count++] = (struct report_block){
            .ssrc = s->ssrc,
            .fraction = window_fraction(&s->window),
            .lost = (int32_t)(lost > INT32_MAX ? INT32_MAX : lost < INT32_MIN ? INT32_MIN : lost),
            .highest = (uint32_t)(s->window.max - WINDOW_START),
            .jitter = s->window.jitter16 >> 4,
            .lsr = s->has_sr ? ntp_middle(s->sr_ntp) : 0,
            .dlsr = s->has_sr ? (uint32_t)(((now - s->sr_us) << 16) / 1000000) : 0,
        };
    }
    return count;
}

/* The RTP timestamp the sink should see at `now`: the source's own clock, carried over by its sender report. */
static uint32_t report_timestamp(struct pump *p, const struct route *r, uint64_t now)
{
    const struct stream *s = &p->streams[r->stream];
    const struct leg *source = &p->legs[r->source];
    if (s->has_sr && source->has_ntp_offset) {
        int64_t since = (int64_t)(ntp_at(p, now) - (uint64_t)source->ntp_offset - s->sr_ntp);
        /* Whole and fraction apart: 64 bits do not hold seconds times a 90 kHz clock in 32.32. */
        int64_t units = (since >> 32) * (int64_t)r->clock_hz +
                        (int64_t)(((uint64_t)since & 0xffffffff) * r->clock_hz >> 32);
        return s->sr_timestamp + (uint32_t)units + r->rewrite.timestamp_offset;
    }
    return r->rewrite.last_timestamp + (uint32_t)((now - r->rewrite.last_us) * r->clock_hz / 1000000);
}

void feedback_report(struct pump *p, struct leg *leg, uint64_t now)
{
    uint8_t compound[RTCP_MAX + 64];
    struct report_block blocks[31];
    unsigned count = report_blocks(p, leg, blocks, now), first = 1, done = 0;
    size_t len = 0;
    /* RFC 3550 §6.2: between a half and one and a half intervals, so that reports of many legs do not align. */
    leg->report_us = now + REPORT_US / 2 + pump_random(p) % REPORT_US;
    for (uint8_t i = 0; i < leg->section_count && len < RTCP_MAX - 200; ++i) {
        uint32_t index = leg->sections[i].fed_by;
        if (index == NONE || !p->routes[index].packets || p->routes[index].stream == NONE)
            continue;
        struct route *r = &p->routes[index];
        unsigned here = first ? (count > 12 ? 12 : count) : 0;
        len += rtcp_write_sr(compound + len, r->out_ssrc, ntp_at(p, now), report_timestamp(p, r, now),
                             (uint32_t)r->packets, (uint32_t)r->bytes, blocks, here);
        done = first ? here : done;
        first = 0;
    }
    if (!first && count > done && len + 8 + 24u * (count - done) + 80 <= RTCP_MAX)
        len += rtcp_write_rr(compound + len, leg->local_ssrc, blocks + done, count - done);
    if (first)
        len += rtcp_write_rr(compound, leg->local_ssrc, blocks, count);
    len += rtcp_write_cname(compound + len, leg->local_ssrc, leg->cname, leg->cname_len);
    send_compound(p, leg, compound, len);
    ++p->counters.reports_out;
}
