#define _GNU_SOURCE
#include "generator.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    BATCH = 16,                      /* messages of one recvmmsg */
    MESSAGE = 65536,                 /* what UDP_GRO may hand over at once */
    READY = 128,                     /* sockets of one epoll_wait */
    SENDS_BETWEEN_RECEIVES = 16,     /* keeps the receive queues short when sending is behind */
    SOCKET_BUFFER = 1 << 22,
    CONTROL = 128,
};

static const uint64_t MS = 1000000u;
static const uint64_t CONSENT_NS = 2500000000u;     /* RFC 7675 5.1: about every 5 s; twice as often costs nothing */
static const uint64_t DRAIN_QUIET_NS = 150000000u;
static const uint64_t DRAIN_MAX_NS = 1000000000u;

struct generator {
    generator_srtp protect, unprotect;
    uint32_t sample;
    int segment, epoll;
    volatile int stop;
    uint32_t legs_count, streams_count;
    struct generator_leg *legs;
    struct generator_stream *streams;
    uint32_t *heap;                  /* stream numbers, earliest next_ns first */
    struct generator_counts counts;
    struct histogram latency, pacing;
    uint8_t ours[128];               /* payload types that count as delivered */
    uint64_t consent_ns;
    uint32_t consent_leg;
    struct epoll_event ready[READY];
    struct mmsghdr messages[BATCH];
    struct iovec vectors[BATCH];
    uint8_t control[BATCH][CONTROL] __attribute__((aligned(8)));
    uint8_t out[GENERATOR_BURST_MAX * (GENERATOR_PAYLOAD_MAX + 64u)] __attribute__((aligned(64)));
    uint8_t in[BATCH][MESSAGE] __attribute__((aligned(64)));
};

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void put16(uint8_t *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, 2);
}

static void put32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

/* ---- the heap of deadlines ---- */

static void heap_sink(struct generator *g, uint32_t at)
{
    uint32_t moving = g->heap[at];
    uint64_t key = g->streams[moving].next_ns;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= g->streams_count)
            break;
        if (child + 1 < g->streams_count &&
            g->streams[g->heap[child + 1]].next_ns < g->streams[g->heap[child]].next_ns)
            child++;
        if (g->streams[g->heap[child]].next_ns >= key)
            break;
        g->heap[at] = g->heap[child];
        at = child;
    }
    g->heap[at] = moving;
}

/* ---- sending ---- */

/* VP8 with a 15-bit picture id (RFC 7741 4.2); a keyframe a second, so that a relay that waits for one forwards. */
static void write_vp8(uint8_t *payload, const struct generator_stream *s, uint32_t packet)
{
    uint32_t frames_a_second = (uint32_t)(s->per_second + 0.5);
    int key = frames_a_second < 2 || s->picture % frames_a_second == 0;
    payload[0] = (uint8_t)(packet == 0 ? 0x90 : 0x80);
    payload[1] = 0x80;
    put16(payload + 2, (uint16_t)(0x8000u | (s->picture & 0x7fffu)));
    if (packet == 0) {
        payload[4] = (uint8_t)(key ? 0x10 : 0x11);      /* RFC 6386 9.1: bit 0 clear = keyframe, show_frame */
        payload[5] = 0x02;
        payload[6] = 0x00;
        memcpy(payload + 7, "\x9d\x01\x2a\x80\x02\xe0\x01", 7);      /* start code, 640 x 480 */
    }
}

static int write_packet(struct generator *g, struct generator_stream *s, uint8_t *p, uint32_t packet, uint64_t sent_ns)
{
    const struct generator_leg *leg = &g->legs[s->leg];
    int last = packet + 1 == s->burst;
    p[0] = 0x90;
    p[1] = (uint8_t)(s->payload_type | (s->video && last ? 0x80 : 0));
    put16(p + 2, s->sequence++);
    put32(p + 4, s->timestamp);
    put32(p + 8, s->ssrc);
    put32(p + 12, 0xbede0001u);
    memcpy(p + 16, s->extension, 4);
    if (s->video)
        write_vp8(p + GENERATOR_HEADER, s, packet);
    uint8_t *stamp = p + GENERATOR_HEADER + GENERATOR_STAMP;
    put32(stamp, GENERATOR_MAGIC);
    put32(stamp + 4, s->source);
    put64(stamp + 8, s->counter++);
    put64(stamp + 16, sent_ns);
    int length = (int)(GENERATOR_HEADER + s->payload);
    return leg->tx == NULL || (g->protect(leg->tx, p, &length) == 0 && (uint32_t)length == s->wire);
}

static int send_segmented(int fd, uint8_t *bytes, uint32_t length, uint16_t segment)
{
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control;
    struct iovec vector = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
    return sendmsg(fd, &message, MSG_DONTWAIT) == (ssize_t)length;
}

static uint32_t send_each(struct generator *g, int fd, uint32_t count, uint32_t wire)
{
    struct iovec vectors[GENERATOR_BURST_MAX];
    struct mmsghdr messages[GENERATOR_BURST_MAX];
    memset(messages, 0, sizeof messages[0] * count);
    for (uint32_t i = 0; i < count; i++) {
        vectors[i].iov_base = g->out + (size_t)i * wire;
        vectors[i].iov_len = wire;
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int sent = sendmmsg(fd, messages, count, MSG_DONTWAIT);
    return sent > 0 ? (uint32_t)sent : 0;
}

static void send_burst(struct generator *g, struct generator_stream *s)
{
    const struct generator_leg *leg = &g->legs[s->leg];
    uint64_t sent_ns = clock_ns(CLOCK_REALTIME);
    for (uint32_t i = 0; i < s->burst; i++)
        if (!write_packet(g, s, g->out + (size_t)i * s->wire, i, sent_ns))
            g->counts.send_errors++;
    s->timestamp += s->step;
    s->picture++;
    uint32_t sent = 0;
    g->counts.sends++;
    if (g->segment && s->burst > 1)
        sent = send_segmented(leg->fd, g->out, s->burst * s->wire, (uint16_t)s->wire) ? s->burst : 0;
    else
        sent = send_each(g, leg->fd, s->burst, s->wire);
    if (sent < s->burst) {
        /* What the kernel refused never was on the wire: not the relay's loss, but the run is suspect. */
        g->counts.send_errors += s->burst - sent;
        if (g->segment && s->burst > 1 && (errno == EIO || errno == EINVAL))
            g->segment = 0;
    }
    g->counts.sent += sent;
    g->counts.expected += (uint64_t)sent * s->copies;
}

/* ---- receiving ---- */

static struct generator_seen *seen_find(struct generator_leg *leg, uint32_t ssrc, uint16_t sequence)
{
    if (leg->seen_last < leg->seen_count && leg->seen[leg->seen_last].ssrc == ssrc)
        return &leg->seen[leg->seen_last];
    for (uint32_t i = 0; i < leg->seen_count; i++)
        if (leg->seen[i].ssrc == ssrc) {
            leg->seen_last = i;
            return &leg->seen[i];
        }
    if (leg->seen_count == GENERATOR_SEEN_MAX)
        return NULL;
    struct generator_seen *fresh = &leg->seen[leg->seen_count++];
    memset(fresh, 0, sizeof *fresh);
    fresh->ssrc = ssrc;
    fresh->highest = (uint16_t)(sequence - 1);
    return fresh;
}

/* 1 = first time, 0 = seen before. */
static int seen_mark(struct generator *g, struct generator_seen *seen, uint16_t sequence)
{
    int16_t ahead = (int16_t)(uint16_t)(sequence - seen->highest);
    if (ahead >= 1024)
        memset(seen->window, 0, sizeof seen->window);
    else
        for (int16_t i = 1; i < ahead; i++) {
            uint32_t skipped = (uint32_t)(seen->highest + i) & 1023u;
            seen->window[skipped >> 6] &= ~((uint64_t)1 << (skipped & 63u));
        }
    uint32_t bit = sequence & 1023u;
    uint64_t mask = (uint64_t)1 << (bit & 63u);
    if (ahead > 0) {
        seen->highest = sequence;
    } else {
        if (ahead > -1024 && (seen->window[bit >> 6] & mask)) {
            g->counts.duplicates++;
            return 0;
        }
        g->counts.reordered++;
    }
    seen->window[bit >> 6] |= mask;
    return 1;
}

static void read_stamp(struct generator *g, struct generator_leg *leg, uint8_t *p, uint32_t length, uint64_t arrived_ns)
{
    g->counts.sampled++;
    if (leg->rx != NULL) {
        int clear = (int)length;
        if (g->unprotect(leg->rx, p, &clear) != 0) {
            g->counts.bad_auth++;
            return;
        }
        length = (uint32_t)clear;
    }
    uint32_t at = 12u + 4u * (p[0] & 0x0fu);
    if ((p[0] & 0x10) && at + 4 <= length)
        at += 4u + 4u * get16(p + at + 2);
    at += GENERATOR_STAMP;
    if (at + GENERATOR_STAMP_BYTES > length || get32(p + at) != GENERATOR_MAGIC) {
        g->counts.corrupt++;
        return;
    }
    uint64_t sent_ns = get64(p + at + 16);
    histogram_add(&g->latency, arrived_ns > sent_ns ? arrived_ns - sent_ns : 0);
}

static void take_packet(struct generator *g, struct generator_leg *leg, uint8_t *p, uint32_t length, uint64_t arrived_ns)
{
    if (length < 12) {
        g->counts.other++;
        return;
    }
    if (p[0] < 128 || p[0] > 191) {
        if (p[0] < 4) {
            g->counts.stun++;
            if (p[0] == 1 && p[1] == 1)      /* Binding success response */
                leg->consents_answered++;
        } else if (p[0] >= 20 && p[0] < 64) {
            g->counts.dtls++;
        } else {
            g->counts.other++;
        }
        return;
    }
    if (p[1] >= 192 && p[1] <= 223) {
        g->counts.rtcp++;
        return;
    }
    if (!g->ours[p[1] & 0x7f]) {
        g->counts.foreign++;
        return;
    }
    uint16_t sequence = get16(p + 2);
    struct generator_seen *seen = seen_find(leg, get32(p + 8), sequence);
    if (seen == NULL)
        g->counts.foreign++;
    else if (!seen_mark(g, seen, sequence))
        return;
    g->counts.delivered++;
    g->counts.bytes += length;
    leg->delivered++;
    if (leg->last_ns != 0 && arrived_ns > leg->last_ns && arrived_ns - leg->last_ns > leg->longest_gap_ns)
        leg->longest_gap_ns = arrived_ns - leg->last_ns;
    leg->last_ns = arrived_ns;
    if (++leg->turn >= g->sample) {
        leg->turn = 0;
        read_stamp(g, leg, p, length, arrived_ns);
    }
}

static void take_message(struct generator *g, struct generator_leg *leg, uint32_t index)
{
    struct msghdr *header = &g->messages[index].msg_hdr;
    uint32_t length = g->messages[index].msg_len;
    uint32_t segment = length;
    uint64_t arrived_ns = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            if (size > 0)
                segment = (uint32_t)size;
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            arrived_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
        }
    }
    if (arrived_ns == 0)
        arrived_ns = clock_ns(CLOCK_REALTIME);
    for (uint32_t at = 0; at < length; at += segment) {
        uint32_t left = length - at;
        take_packet(g, leg, g->in[index] + at, left < segment ? left : segment, arrived_ns);
    }
}

/* Reads every socket that has something, each at most one batch. Returns the number of messages. */
static uint32_t receive(struct generator *g)
{
    uint32_t taken = 0;
    g->counts.polls++;
    int ready = epoll_wait(g->epoll, g->ready, READY, 0);
    for (int i = 0; i < ready; i++) {
        struct generator_leg *leg = &g->legs[g->ready[i].data.u32];
        g->counts.receives++;
        int count = recvmmsg(leg->fd, g->messages, BATCH, MSG_DONTWAIT, NULL);
        for (int m = 0; m < count; m++) {
            take_message(g, leg, (uint32_t)m);
            g->messages[m].msg_hdr.msg_controllen = CONTROL;
        }
        taken += count > 0 ? (uint32_t)count : 0;
    }
    return taken;
}

/* Legs take turns, so that the checks are spread over the interval. */
static void send_consents(struct generator *g, uint64_t now)
{
    while (g->consent_ns <= now) {
        struct generator_leg *leg = &g->legs[g->consent_leg];
        if (leg->consents > 0) {
            uint32_t n = leg->consent_next;
            leg->consent_next = (n + 1) % leg->consents;
            if (send(leg->fd, leg->consent[n], leg->consent_bytes[n], MSG_DONTWAIT) < 0)
                g->counts.send_errors++;
        }
        g->consent_leg = (g->consent_leg + 1) % g->legs_count;
        g->consent_ns += CONSENT_NS / g->legs_count;
    }
}

/* ---- a run ---- */

static void reset(struct generator *g, uint64_t start, double scale, uint32_t seed)
{
    memset(&g->counts, 0, sizeof g->counts);
    memset(&g->latency, 0, sizeof g->latency);
    memset(&g->pacing, 0, sizeof g->pacing);
    memset(g->ours, 0, sizeof g->ours);
    for (uint32_t i = 0; i < g->legs_count; i++) {
        struct generator_leg *leg = &g->legs[i];
        leg->delivered = leg->last_ns = leg->longest_gap_ns = 0;
        leg->consents_answered = 0;
        leg->turn = i % g->sample;
    }
    uint32_t state = seed * 2654435761u + 1u;
    for (uint32_t i = 0; i < g->streams_count; i++) {
        struct generator_stream *s = &g->streams[i];
        state ^= state << 13;      /* xorshift32: a phase of its own for every stream */
        state ^= state >> 17;
        state ^= state << 5;
        s->interval_ns = (uint64_t)(1e9 / (s->per_second * scale));
        s->next_ns = start + (uint64_t)((double)s->interval_ns * ((double)state / 4294967296.0));
        g->ours[s->payload_type] = 1;
        g->heap[i] = i;
    }
    for (uint32_t i = g->streams_count / 2 + 1; i-- > 0;)
        if (i < g->streams_count)
            heap_sink(g, i);
}

int generator_run(struct generator *g, uint64_t duration_ns, double scale, uint32_t seed)
{
    if (g->streams_count == 0 || !(scale > 0))
        return -1;
    uint64_t start = clock_ns(CLOCK_MONOTONIC) + MS;
    uint64_t end = start + duration_ns;
    uint64_t now = start, before = start;
    reset(g, start, scale, seed);
    g->stop = 0;
    if (g->consent_ns + CONSENT_NS < start)
        g->consent_ns = start;
    while ((now = clock_ns(CLOCK_MONOTONIC)) < end && !g->stop) {
        int sends = 0;
        for (; sends < SENDS_BETWEEN_RECEIVES; sends++) {
            struct generator_stream *s = &g->streams[g->heap[0]];
            if (s->next_ns > now)
                break;
            uint64_t moment = sends == 0 ? now : clock_ns(CLOCK_MONOTONIC);
            histogram_add(&g->pacing, moment - s->next_ns);
            send_burst(g, s);
            s->next_ns += s->interval_ns;
            heap_sink(g, 0);
        }
        uint32_t taken = receive(g);
        send_consents(g, now);
        if (sends == 0 && taken == 0)
            g->counts.idle_ns += clock_ns(CLOCK_MONOTONIC) - now;
    }
    g->counts.elapsed_ns = now > start ? now - start : 1;
    for (before = now; now - before < DRAIN_QUIET_NS && now < end + DRAIN_MAX_NS; now = clock_ns(CLOCK_MONOTONIC))
        if (receive(g) > 0)
            before = now;
    for (uint32_t i = 0; i < g->legs_count; i++)
        if (g->legs[i].longest_gap_ns > g->counts.longest_gap_ns)
            g->counts.longest_gap_ns = g->legs[i].longest_gap_ns;
    return 0;
}

void generator_stop(struct generator *g)
{
    g->stop = 1;
}

/* ---- building one ---- */

struct generator *generator_new(generator_srtp protect, generator_srtp unprotect, uint32_t sample, int segment)
{
    struct generator *g = aligned_alloc(64, (sizeof *g + 63u) / 64u * 64u);
    if (g == NULL)
        return NULL;
    memset(g, 0, sizeof *g);
    g->protect = protect;
    g->unprotect = unprotect;
    g->sample = sample > 0 ? sample : 1;
    g->segment = segment;
    g->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (g->epoll < 0) {
        free(g);
        return NULL;
    }
    for (uint32_t i = 0; i < BATCH; i++) {
        g->vectors[i].iov_base = g->in[i];
        g->vectors[i].iov_len = MESSAGE;
        g->messages[i].msg_hdr.msg_iov = &g->vectors[i];
        g->messages[i].msg_hdr.msg_iovlen = 1;
        g->messages[i].msg_hdr.msg_control = g->control[i];
        g->messages[i].msg_hdr.msg_controllen = CONTROL;
    }
    return g;
}

void generator_free(struct generator *g)
{
    if (g == NULL)
        return;
    close(g->epoll);
    free(g->legs);
    free(g->streams);
    free(g->heap);
    free(g);
}

int generator_add_leg(struct generator *g, int fd, void *tx, void *rx)
{
    struct generator_leg *grown = realloc(g->legs, sizeof *grown * (g->legs_count + 1));
    if (grown == NULL)
        return -1;
    g->legs = grown;
    struct generator_leg *leg = &g->legs[g->legs_count];
    memset(leg, 0, sizeof *leg);
    leg->fd = fd;
    leg->tx = tx;
    leg->rx = rx;
    int on = 1, size = SOCKET_BUFFER;
    setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);      /* old kernels: single packets then */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = g->legs_count};
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0 ||
        epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        return -1;
    return (int)g->legs_count++;
}

int generator_add_stream(struct generator *g, const struct generator_stream *stream)
{
    if (stream->leg >= g->legs_count || stream->burst == 0 || stream->burst > GENERATOR_BURST_MAX ||
        stream->payload < GENERATOR_STAMP + GENERATOR_STAMP_BYTES || stream->payload > GENERATOR_PAYLOAD_MAX ||
        stream->wire < GENERATOR_HEADER + stream->payload || stream->wire > GENERATOR_PAYLOAD_MAX + 64 ||
        stream->payload_type > 127 || !(stream->per_second > 0))
        return -1;
    struct generator_stream *grown = realloc(g->streams, sizeof *grown * (g->streams_count + 1));
    if (grown == NULL)
        return -1;
    g->streams = grown;
    uint32_t *heap = realloc(g->heap, sizeof *heap * (g->streams_count + 1));
    if (heap == NULL)
        return -1;
    g->heap = heap;
    g->streams[g->streams_count] = *stream;
    g->streams[g->streams_count].source = g->streams_count;
    return (int)g->streams_count++;
}

int generator_add_consent(struct generator *g, uint32_t leg, const uint8_t *bytes, size_t length)
{
    if (leg >= g->legs_count || length > GENERATOR_CONSENT_BYTES || g->legs[leg].consents == GENERATOR_CONSENTS)
        return -1;
    struct generator_leg *l = &g->legs[leg];
    memcpy(l->consent[l->consents], bytes, length);
    l->consent_bytes[l->consents] = (uint32_t)length;
    return (int)l->consents++;
}

const struct generator_counts *generator_counts(const struct generator *g)
{
    return &g->counts;
}

const struct histogram *generator_latency(const struct generator *g)
{
    return &g->latency;
}

const struct histogram *generator_pacing(const struct generator *g)
{
    return &g->pacing;
}

const struct generator_leg *generator_leg(const struct generator *g, uint32_t index)
{
    return &g->legs[index];
}
