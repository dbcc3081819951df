/* Outgoing packets: a fixed arena of slots, queued by destination leg, sent in runs of equal size (UDP GSO).
 *
 * A slot is written by the pump between egress_slot and egress_commit, belongs to the queue until egress_flush, and is
 * free again afterwards.
 */
#ifndef RELAY_EGRESS_H
#define RELAY_EGRESS_H

#include "udp.h"

#define SLOT_BYTES 1600u /* an Ethernet payload of 1,500 bytes and an SRTP trailer, with room for RTX's two bytes */
#define EGRESS_SLOTS 256u /* 400 KB: stays in the second-level cache */
#define EGRESS_NONE UINT32_MAX

/* A leg's place in the queue. */
struct egress_path {
    struct sockaddr_any to;
    struct local_address from;
    uint32_t head, tail; /* slots, EGRESS_NONE when nothing waits */
    bool no_gso;         /* the kernel refused a run on this path (its MTU is smaller than ours) */
};

struct egress {
    struct udp *udp;
    uint8_t *slots;       /* EGRESS_SLOTS * SLOT_BYTES, allocated by egress_init */
    struct tx_message *tx; /* allocated by egress_init */
    uint32_t next[EGRESS_SLOTS];
    uint16_t len[EGRESS_SLOTS];
    struct egress_path *touched[EGRESS_SLOTS];
    uint32_t used, touched_count;
    uint64_t packets, bytes, runs;
    uint64_t send_full, send_error; /* datagrams */
    /* Without a socket, sent datagrams are appended here as (length 16, port 16, bytes) until it is full. */
    uint8_t *capture; /* owned by the caller of egress_capture */
    uint32_t capture_size, capture_used;
};

bool egress_init(struct egress *e, struct udp *udp);
void egress_free(struct egress *e);
/* A free slot of SLOT_BYTES; flushes first when all are in use. */
uint8_t *egress_slot(struct egress *e);
/* Queues the slot last returned by egress_slot. */
void egress_commit(struct egress *e, struct egress_path *path, uint16_t len);
void egress_flush(struct egress *e);
/* The path is going away: what still waits for it is dropped. */
void egress_path_init(struct egress_path *path);

#endif
