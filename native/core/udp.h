/* The kernel's side: one UDP socket, batched receive with GRO, batched send with GSO. */
#ifndef RELAY_UDP_H
#define RELAY_UDP_H

#include "table.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define RX_BATCH 32u       /* datagrams, or GRO runs of datagrams, a system call */
#define RX_BUFFER 65536u   /* a GRO run is at most 64 KiB */
#define TX_BATCH 256u      /* messages a system call */
#define GSO_SEGMENTS 48u   /* kernels since 4.18 take 64 */
#define GSO_BYTES 60000u
#define PKTINFO_SPACE CMSG_SPACE(sizeof(struct in6_pktinfo)) /* the larger of both families */

struct udp_received {
    uint8_t *data; /* in the receive ring, until the next udp_receive */
    uint32_t len;
    uint16_t segment; /* size of each datagram in the run, the last may be shorter; 0 = one datagram */
    bool truncated;
    struct address from;
    struct local_address to;
};

struct udp {
    int fd;
    int family;
    bool gso;
    bool pktinfo;            /* bound to every address: answer from the one that was asked (RFC 3542 §6.1) */
    uint32_t overflow;       /* SO_RXQ_OVFL: datagrams the kernel dropped because the receive buffer was full */
    uint64_t receive_calls, send_calls;
    uint8_t *buffers;        /* RX_BATCH * RX_BUFFER, allocated by udp_open */
    struct rx_message *rx;   /* allocated by udp_open */
};

struct sockaddr_any {
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t len;
};

/* Takes over an open, bound socket; false when memory is short. */
bool udp_open(struct udp *u, int fd, int family);
void udp_close(struct udp *u);
/* Fills up to RX_BATCH entries; `block` waits for the first one up to the socket's SO_RCVTIMEO. */
int udp_receive(struct udp *u, struct udp_received *out, bool block);
void udp_sockaddr(const struct udp *u, const struct address *a, struct sockaddr_any *out);
/* Writes a control message that makes `from` the source address; returns its space, 0 when `from` is unknown. */
size_t udp_pktinfo(const struct udp *u, const struct local_address *from, struct cmsghdr *c);
void udp_address(const struct sockaddr_any *s, struct address *out);

#endif
