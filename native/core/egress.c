/* See egress.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "egress.h"
#include "bytes.h"

#include <errno.h>
#include <stdlib.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

struct tx_message {
    struct mmsghdr messages[TX_BATCH];
    struct iovec vectors[EGRESS_SLOTS];
    struct egress_path *paths[TX_BATCH];
    uint16_t segments[TX_BATCH];
    _Alignas(16) uint8_t control[TX_BATCH][CMSG_SPACE(sizeof(uint16_t)) + PKTINFO_SPACE];
};

bool egress_init(struct egress *e, struct udp *udp)
{
    e->udp = udp;
    e->slots = malloc((size_t)EGRESS_SLOTS * SLOT_BYTES);
    e->tx = calloc(1, sizeof *e->tx);
    return e->slots && e->tx;
}

void egress_free(struct egress *e)
{
    free(e->slots);
    free(e->tx);
    e->slots = NULL;
    e->tx = NULL;
}

void egress_path_init(struct egress_path *path)
{
    path->head = path->tail = EGRESS_NONE;
    path->no_gso = false;
}

uint8_t *egress_slot(struct egress *e)
{
    if (e->used == EGRESS_SLOTS)
        egress_flush(e);
    return e->slots + (size_t)e->used * SLOT_BYTES;
}

void egress_commit(struct egress *e, struct egress_path *path, uint16_t len)
{
    uint32_t slot = e->used++;
    e->len[slot] = len;
    e->next[slot] = EGRESS_NONE;
    if (path->head == EGRESS_NONE) {
        path->head = slot;
        e->touched[e->touched_count++] = path;
    } else {
        e->next[path->tail] = slot;
    }
    path->tail = slot;
}

static void capture(struct egress *e, const struct egress_path *path, uint32_t slot)
{
    uint16_t len = e->len[slot];
    if (e->capture && e->capture_used + 4u + len <= e->capture_size) {
        uint8_t *p = e->capture + e->capture_used;
        put16(p, len);
        put16(p + 2, ntohs(path->to.sa.sa_family == AF_INET ? path->to.v4.sin_port : path->to.v6.sin6_port));
        memcpy(p + 4, e->slots + (size_t)slot * SLOT_BYTES, len);
        e->capture_used += 4u + len;
    }
}

/* Sends each datagram of a refused run by itself. */
static void send_singly(struct egress *e, const struct msghdr *m)
{
    for (size_t i = 0; i < m->msg_iovlen; ++i) {
        ++e->udp->send_calls;
        struct msghdr one = *m;
        size_t gso = CMSG_SPACE(sizeof(uint16_t));
        one.msg_iov = m->msg_iov + i;
        one.msg_iovlen = 1;
        /* The run's first control message was its segment size. */
        one.msg_controllen = m->msg_controllen - gso;
        one.msg_control = one.msg_controllen ? (uint8_t *)m->msg_control + gso : NULL;
        if (sendmsg(e->udp->fd, &one, MSG_DONTWAIT) < 0) {
            if (errno == EAGAIN || errno == ENOBUFS)
                ++e->send_full;
            else
                ++e->send_error;
        } else {
            ++e->packets;
        }
    }
}

static void send_all(struct egress *e, uint32_t count)
{
    struct tx_message *tx = e->tx;
    uint32_t at = 0;
    while (at < count) {
        ++e->udp->send_calls;
        int n = sendmmsg(e->udp->fd, tx->messages + at, count - at, MSG_DONTWAIT);
        if (n > 0) {
            for (uint32_t i = at; i < at + (uint32_t)n; ++i)
                e->packets += tx->segments[i];
            at += (uint32_t)n;
            continue;
        }
        /* The error belongs to the first message; the others are still to be tried. */
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == ENOBUFS) {
            e->send_full += tx->segments[at];
        } else if (tx->segments[at] > 1 && (errno == EINVAL || errno == EMSGSIZE || errno == EIO)) {
            if (errno == EIO)
                e->udp->gso = false; /* the device cannot checksum: no run will ever pass */
            tx->paths[at]->no_gso = true;
            send_singly(e, &tx->messages[at].msg_hdr);
        } else {
            e->send_error += tx->segments[at];
        }
        ++at;
    }
}

void egress_flush(struct egress *e)
{
    struct tx_message *tx = e->tx;
    uint32_t messages = 0, vectors = 0;
    for (uint32_t t = 0; t < e->touched_count; ++t) {
        struct egress_path *path = e->touched[t];
        uint32_t slot = path->head;
        bool gso = e->udp->gso && !path->no_gso;
        path->head = path->tail = EGRESS_NONE;
        while (slot != EGRESS_NONE) {
            if (e->udp->fd < 0) {
                capture(e, path, slot);
                e->bytes += e->len[slot];
                ++e->packets;
                slot = e->next[slot];
                continue;
            }
            if (messages == TX_BATCH) {
                send_all(e, messages);
                messages = vectors = 0;
            }
            struct msghdr *m = &tx->messages[messages].msg_hdr;
            uint16_t size = e->len[slot];
            uint32_t bytes = 0, segments = 0;
            m->msg_name = &path->to.sa;
            m->msg_namelen = path->to.len;
            m->msg_iov = &tx->vectors[vectors];
            m->msg_flags = 0;
            /* A run: equal sizes, the last may be shorter. */
            do {
                uint16_t len = e->len[slot];
                tx->vectors[vectors++] = (struct iovec){e->slots + (size_t)slot * SLOT_BYTES, len};
                bytes += len;
                ++segments;
                slot = e->next[slot];
                if (len < size)
                    break;
            } while (gso && slot != EGRESS_NONE && e->len[slot] <= size && segments < GSO_SEGMENTS &&
                     bytes + e->len[slot] <= GSO_BYTES);
            m->msg_iovlen = segments;
            uint8_t *control = tx->control[messages];
            size_t used = 0;
            if (segments > 1) {
                struct cmsghdr *c = (struct cmsghdr *)control;
                used = CMSG_SPACE(sizeof size);
                c->cmsg_level = SOL_UDP;
                c->cmsg_type = UDP_SEGMENT;
                c->cmsg_len = CMSG_LEN(sizeof size);
                memcpy(CMSG_DATA(c), &size, sizeof size);
                ++e->runs;
            }
            used += udp_pktinfo(e->udp, &path->from, (struct cmsghdr *)(control + used));
            m->msg_control = used ? control : NULL;
            m->msg_controllen = used;
            tx->paths[messages] = path;
            tx->segments[messages++] = (uint16_t)segments;
            e->bytes += bytes;
        }
    }
    if (messages)
        send_all(e, messages);
    e->used = e->touched_count = 0;
}
