/* See rtcp.h. */
#include "rtcp.h"

bool rtcp_next(const uint8_t *p, size_t len, size_t *at, struct rtcp_packet *out, bool *ok)
{
    if (*at == len)
        return false;
    if (len - *at < 4 || (p[*at] >> 6) != 2) {
        *ok = false;
        return false;
    }
    size_t bytes = 4u * (get16(p + *at + 2) + 1u);
    if (bytes > len - *at) {
        *ok = false;
        return false;
    }
    out->body = p + *at;
    out->len = bytes;
    out->count = p[*at] & 31;
    out->type = p[*at + 1];
    if (p[*at] & 0x20) {
        /* RFC 3550 §6.4.1: only the last packet of a compound may be padded. */
        uint8_t padding = p[*at + bytes - 1];
        if (!padding || padding % 4 || padding > bytes - 4) {
            *ok = false;
            return false;
        }
        out->len -= padding;
    }
    *at += bytes;
    return true;
}

void rtcp_read_block(const uint8_t *p, struct report_block *b)
{
    b->ssrc = get32(p);
    b->fraction = p[4];
    uint32_t lost = get32(p + 4) & 0xffffff;
    b->lost = lost & 0x800000 ? (int32_t)(lost | 0xff000000u) : (int32_t)lost;
    b->highest = get32(p + 8);
    b->jitter = get32(p + 12);
    b->lsr = get32(p + 16);
    b->dlsr = get32(p + 20);
}

static size_t header(uint8_t *p, unsigned count, uint8_t type, size_t bytes)
{
    p[0] = (uint8_t)(0x80 | count);
    p[1] = type;
    put16(p + 2, (uint16_t)(bytes / 4 - 1));
    return bytes;
}

static void write_blocks(uint8_t *p, const struct report_block *blocks, unsigned count)
{
    for (unsigned i = 0; i < count; ++i, p += 24) {
        int32_t lost = blocks[i].lost;
        lost = lost > 0x7fffff ? 0x7fffff : lost < -0x800000 ? -0x800000 : lost;
        put32(p, blocks[i].ssrc);
        put32(p + 4, (uint32_t)blocks[i].fraction << 24 | ((uint32_t)lost & 0xffffff));
        put32(p + 8, blocks[i].highest);
        put32(p + 12, blocks[i].jitter);
        put32(p + 16, blocks[i].lsr);
        put32(p + 20, blocks[i].dlsr);
    }
}

size_t rtcp_write_sr(uint8_t *p, uint32_t ssrc, uint64_t ntp, uint32_t timestamp, uint32_t packets, uint32_t bytes,
                     const struct report_block *blocks, unsigned count)
{
    put32(p + 4, ssrc);
    put64(p + 8, ntp);
    put32(p + 16, timestamp);
    put32(p + 20, packets);
    put32(p + 24, bytes);
    write_blocks(p + 28, blocks, count);
    return header(p, count, RTCP_SR, 28 + 24u * count);
}

size_t rtcp_write_rr(uint8_t *p, uint32_t ssrc, const struct report_block *blocks, unsigned count)
{
    put32(p + 4, ssrc);
    write_blocks(p + 8, blocks, count);
    return header(p, count, RTCP_RR, 8 + 24u * count);
}

size_t rtcp_write_cname(uint8_t *p, uint32_t ssrc, const char *cname, size_t len)
{
    size_t bytes = 8 + 2 + len;
    size_t padded = (bytes + 4) & ~(size_t)3; /* at least one null ends the items */
    memset(p + bytes, 0, padded - bytes);
    put32(p + 4, ssrc);
    p[8] = 1;
    p[9] = (uint8_t)len;
    memcpy(p + 10, cname, len);
    return header(p, 1, RTCP_SDES, padded);
}

size_t rtcp_write_pli(uint8_t *p, uint32_t sender, uint32_t media)
{
    put32(p + 4, sender);
    put32(p + 8, media);
    return header(p, PSFB_PLI, RTCP_PSFB, 12);
}

size_t rtcp_write_fir(uint8_t *p, uint32_t sender, uint32_t media, uint8_t number)
{
    put32(p + 4, sender);
    put32(p + 8, 0);
    put32(p + 12, media);
    put32(p + 16, (uint32_t)number << 24);
    return header(p, PSFB_FIR, RTCP_PSFB, 20);
}

size_t rtcp_write_bye(uint8_t *p, uint32_t ssrc)
{
    put32(p + 4, ssrc);
    return header(p, 1, RTCP_BYE, 8);
}
