/* See udp.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "udp.h"
#include "bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef SO_RXQ_OVFL
#define SO_RXQ_OVFL 40
#endif

#define V4_PREFIX 0x0000ffffull /* ::ffff:a.b.c.d, upper half of the low word */

struct rx_message {
    struct mmsghdr messages[RX_BATCH];
    struct iovec vectors[RX_BATCH];
    struct sockaddr_any from[RX_BATCH];
    _Alignas(16) uint8_t control[RX_BATCH][128];
};

bool udp_open(struct udp *u, int fd, int family)
{
    int one = 1;
    u->fd = fd;
    u->family = family;
    u->buffers = malloc((size_t)RX_BATCH * RX_BUFFER);
    u->rx = calloc(1, sizeof *u->rx);
    if (!u->buffers || !u->rx)
        return false;
    if (fd >= 0) {
        /* GRO is a gain, never a need: kernels without it deliver datagrams one by one. */
        (void)setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof one);
        (void)setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
        struct sockaddr_any bound = {.len = sizeof bound.v6};
        struct address address;
        if (getsockname(fd, &bound.sa, &bound.len) == 0) {
            udp_address(&bound, &address);
            u->pktinfo = address.hi == 0 && (address.lo == 0 || address.lo == V4_PREFIX << 32);
        }
        if (u->pktinfo)
            u->pktinfo = (family == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one)
                                            : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one)) == 0;
    }
    return true;
}

void udp_close(struct udp *u)
{
    free(u->buffers);
    free(u->rx);
    u->buffers = NULL;
    u->rx = NULL;
}

void udp_address(const struct sockaddr_any *s, struct address *out)
{
    if (s->sa.sa_family == AF_INET) {
        out->hi = 0;
        out->lo = V4_PREFIX << 32 | ntohl(s->v4.sin_addr.s_addr);
        out->port = ntohs(s->v4.sin_port);
    } else {
        out->hi = get64(s->v6.sin6_addr.s6_addr);
        out->lo = get64(s->v6.sin6_addr.s6_addr + 8);
        out->port = ntohs(s->v6.sin6_port);
    }
}

void udp_sockaddr(const struct udp *u, const struct address *a, struct sockaddr_any *out)
{
    memset(out, 0, sizeof *out);
    if (u->family == AF_INET) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_addr.s_addr = htonl((uint32_t)a->lo);
        out->v4.sin_port = htons((uint16_t)a->port);
        out->len = sizeof out->v4;
    } else {
        out->v6.sin6_family = AF_INET6;
        put64(out->v6.sin6_addr.s6_addr, a->hi);
        put64(out->v6.sin6_addr.s6_addr + 8, a->lo);
        out->v6.sin6_port = htons((uint16_t)a->port);
        out->len = sizeof out->v6;
    }
}

size_t udp_pktinfo(const struct udp *u, const struct local_address *from, struct cmsghdr *c)
{
    if (!u->pktinfo || (!from->hi && !from->lo))
        return 0;
    if (u->family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl((uint32_t)from->lo)};
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof info);
        memcpy(CMSG_DATA(c), &info, sizeof info);
        return CMSG_SPACE(sizeof info);
    }
    struct in6_pktinfo info = {.ipi6_ifindex = 0};
    put64(info.ipi6_addr.s6_addr, from->hi);
    put64(info.ipi6_addr.s6_addr + 8, from->lo);
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
    return CMSG_SPACE(sizeof info);
}

int udp_receive(struct udp *u, struct udp_received *out, bool block)
{
    struct rx_message *rx = u->rx;
    for (uint32_t i = 0; i < RX_BATCH; ++i) {
        struct msghdr *m = &rx->messages[i].msg_hdr;
        rx->vectors[i] = (struct iovec){u->buffers + (size_t)i * RX_BUFFER, RX_BUFFER};
        m->msg_name = &rx->from[i].sa;
        m->msg_namelen = sizeof rx->from[i].v6;
        m->msg_iov = &rx->vectors[i];
        m->msg_iovlen = 1;
        m->msg_control = rx->control[i];
        m->msg_controllen = sizeof rx->control[i];
        m->msg_flags = 0;
    }
    ++u->receive_calls;
    int n = recvmmsg(u->fd, rx->messages, RX_BATCH, block ? MSG_WAITFORONE : MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; ++i) {
        struct msghdr *m = &rx->messages[i].msg_hdr;
        struct udp_received *r = &out[i];
        r->data = rx->vectors[i].iov_base;
        r->len = rx->messages[i].msg_len;
        r->truncated = (m->msg_flags & MSG_TRUNC) != 0;
        r->segment = 0;
        r->to = (struct local_address){0, 0};
        udp_address(&rx->from[i], &r->from);
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
            if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
                int size;
                memcpy(&size, CMSG_DATA(c), sizeof size);
                r->segment = (uint16_t)size;
            } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
                memcpy(&u->overflow, CMSG_DATA(c), sizeof u->overflow);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                struct in6_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof info);
                r->to = (struct local_address){get64(info.ipi6_addr.s6_addr), get64(info.ipi6_addr.s6_addr + 8)};
            } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                struct in_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof info);
                r->to = (struct local_address){0, V4_PREFIX << 32 | ntohl(info.ipi_addr.s_addr)};
            }
        }
    }
    return n;
}
