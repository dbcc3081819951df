/* RTP on the wire: demultiplexing (RFC 7983, RFC 5761), header parsing (RFC 3550 §5.1), header extensions (RFC 8285).
 *
 *  0                   1                   2                   3
 *  |V=2|P|X|  CC   |M|     PT      |       sequence number         |
 *  |                           timestamp                           |
 *  |           synchronization source (SSRC) identifier            |
 */
#ifndef RELAY_RTP_H
#define RELAY_RTP_H

#include "bytes.h"
#include <stdbool.h>
#include <stddef.h>

enum packet_class { PACKET_STUN, PACKET_DTLS, PACKET_RTP, PACKET_RTCP, PACKET_OTHER };

#define RTP_HEADER 12
#define EXT_ONE_BYTE 0xBEDE
#define EXT_TWO_BYTE 0x1000 /* the low four bits are application bits */

static inline enum packet_class packet_class_of(const uint8_t *p, size_t len)
{
    uint8_t b = p[0];
    if (b >= 128 && b <= 191)
        return len >= 2 && p[1] >= 192 && p[1] <= 223 ? PACKET_RTCP : PACKET_RTP;
    if (b <= 3)
        return PACKET_STUN;
    if (b >= 20 && b <= 63)
        return PACKET_DTLS;
    return PACKET_OTHER;
}

/* Offsets into one packet; they stay right through unprotect because SRTP leaves the header in place. */
struct rtp_view {
    uint32_t ssrc;
    uint32_t timestamp;
    uint16_t sequence;
    uint16_t ext_profile; /* 0 when there is no extension */
    uint16_t ext_offset;  /* first element */
    uint16_t ext_len;     /* bytes of elements */
    uint16_t payload;     /* offset of the payload */
    uint8_t pt;
    bool marker;
    bool padding;
};

/* Fills `v`; false when the header or its extension reaches beyond `len`. */
static inline bool rtp_parse(const uint8_t *p, size_t len, struct rtp_view *v)
{
    if (len < RTP_HEADER || (p[0] >> 6) != 2)
        return false;
    size_t at = RTP_HEADER + 4u * (p[0] & 15);
    v->padding = (p[0] & 0x20) != 0;
    v->marker = (p[1] & 0x80) != 0;
    v->pt = p[1] & 0x7f;
    v->sequence = get16(p + 2);
    v->timestamp = get32(p + 4);
    v->ssrc = get32(p + 8);
    v->ext_profile = 0;
    v->ext_offset = 0;
    v->ext_len = 0;
    if (p[0] & 0x10) {
        if (len < at + 4)
            return false;
        v->ext_profile = get16(p + at);
        size_t bytes = 4u * get16(p + at + 2);
        at += 4;
        if (len < at + bytes)
            return false;
        v->ext_offset = (uint16_t)at;
        v->ext_len = (uint16_t)bytes;
        at += bytes;
    }
    if (len < at)
        return false;
    v->payload = (uint16_t)at;
    return true;
}

static inline bool ext_is_two_byte(uint16_t profile)
{
    return (profile & 0xfff0) == EXT_TWO_BYTE;
}

/* One step over extension elements. `at` moves past the element found; false at the end or at garbage. */
static inline bool ext_next(const uint8_t *p, const struct rtp_view *v, size_t *at, uint8_t *id, size_t *data,
                            size_t *len)
{
    size_t end = (size_t)v->ext_offset + v->ext_len;
    bool two = ext_is_two_byte(v->ext_profile);
    if (!two && v->ext_profile != EXT_ONE_BYTE)
        return false;
    while (*at < end && p[*at] == 0)
        ++*at;
    if (*at >= end)
        return false;
    if (two) {
        if (*at + 2 > end)
            return false;
        *id = p[*at];
        *len = p[*at + 1];
        *data = *at + 2;
    } else {
        *id = p[*at] >> 4;
        *len = (size_t)(p[*at] & 15) + 1;
        *data = *at + 1;
        /* RFC 8285 §4.2: id 15 stops the processing; id 0 with a length is no padding byte. */
        if (*id == 15 || *id == 0)
            return false;
    }
    if (*data + *len > end)
        return false;
    *at = *data + *len;
    return true;
}

/* Offset and length of the element with `wanted` id; false when absent. */
static inline bool ext_find(const uint8_t *p, const struct rtp_view *v, uint8_t wanted, size_t *data, size_t *len)
{
    size_t at = v->ext_offset;
    uint8_t id;
    if (!wanted || !v->ext_profile)
        return false;
    while (ext_next(p, v, &at, &id, data, len))
        if (id == wanted)
            return true;
    return false;
}

#endif
