/* RTCP on the wire (RFC 3550 §6, RFC 4585, RFC 5104): walking a compound, building reports and requests. */
#ifndef RELAY_RTCP_H
#define RELAY_RTCP_H

#include "bytes.h"
#include <stdbool.h>
#include <stddef.h>

enum {
    RTCP_SR = 200,
    RTCP_RR = 201,
    RTCP_SDES = 202,
    RTCP_BYE = 203,
    RTCP_RTPFB = 205, /* RFC 4585 §6.2 */
    RTCP_PSFB = 206   /* RFC 4585 §6.3 */
};
enum { RTPFB_NACK = 1, PSFB_PLI = 1, PSFB_FIR = 4 };

#define RTCP_MAX 1200u /* bytes of a compound we build, before SRTCP */

struct rtcp_packet {
    const uint8_t *body; /* the whole packet, its 4-byte header included */
    size_t len;          /* bytes, the padding of the last packet taken off */
    uint8_t type, count;
};

/* The packet at `*at`, which moves behind it. False at the end; `*ok` turns false when lengths disagree. */
bool rtcp_next(const uint8_t *p, size_t len, size_t *at, struct rtcp_packet *out, bool *ok);

struct report_block {
    uint32_t ssrc, highest, jitter, lsr, dlsr;
    int32_t lost; /* cumulative, 24 bits on the wire */
    uint8_t fraction;
};

void rtcp_read_block(const uint8_t *p, struct report_block *b);

/* Builders append at `p` and return the bytes written. The caller guarantees the room. */
size_t rtcp_write_sr(uint8_t *p, uint32_t ssrc, uint64_t ntp, uint32_t timestamp, uint32_t packets, uint32_t bytes,
                     const struct report_block *blocks, unsigned count);
size_t rtcp_write_rr(uint8_t *p, uint32_t ssrc, const struct report_block *blocks, unsigned count);
size_t rtcp_write_cname(uint8_t *p, uint32_t ssrc, const char *cname, size_t len);
size_t rtcp_write_pli(uint8_t *p, uint32_t sender, uint32_t media);
size_t rtcp_write_fir(uint8_t *p, uint32_t sender, uint32_t media, uint8_t number);
size_t rtcp_write_bye(uint8_t *p, uint32_t ssrc);

#endif
