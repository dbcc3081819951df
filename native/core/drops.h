/* The one list of reasons for dropping a packet: enum, counters and Prometheus labels expand from it. */
#ifndef RELAY_DROPS_H
#define RELAY_DROPS_H

#define DROP_REASONS(X)                                                                   \
    X(empty, "datagram without a byte")                                                   \
    X(truncated, "datagram larger than the receive buffer")                               \
    X(not_ours, "first byte is no STUN, DTLS, RTP or RTCP (RFC 7983)")                    \
    X(stun_malformed, "STUN from an unknown address that is no well-formed Binding request") \
    X(slow_full, "ring towards Python full")                                              \
    X(dtls_unvalidated, "DTLS from an address no ICE check has validated")                \
    X(unknown_source, "RTP or RTCP from an address that belongs to no leg")               \
    X(no_keys, "RTP or RTCP before the leg's handshake is done")                          \
    X(malformed, "RTP header or extension inconsistent with the length")                  \
    X(oversize, "RTP larger than a slot")                                                 \
    X(stream_table_full, "new SSRC on a leg that holds its maximum of streams")           \
    X(bad_auth, "SRTP authentication failed")                                             \
    X(replayed, "SRTP replay check failed")                                               \
    X(srtp_failed, "SRTP failed otherwise")                                               \
    X(bad_padding, "padding count is zero or beyond the payload")                         \
    X(no_section, "no m-section fits the packet's MID, SSRC or payload type")             \
    X(not_receiving, "the m-section was not negotiated towards the relay")                \
    X(duplicate, "sequence number seen before")                                           \
    X(rtx_padding, "retransmission without payload, a bandwidth probe")                   \
    X(rtx_orphan, "retransmission of a stream not known")                                 \
    X(restarting, "sequence number jumped, waiting for a second packet")                  \
    X(no_route, "nobody receives the stream")                                             \
    X(layer_gate, "another stream of the same m-section is being forwarded")              \
    X(stale, "packet from before the route began or switched its source")                 \
    X(no_payload, "payload type has no counterpart on the receiving leg")                 \
    X(no_path, "receiving leg has no validated address or no keys yet")                   \
    X(protect_failed, "SRTP protection of an outgoing packet failed")                     \
    X(send_full, "socket send buffer full")                                               \
    X(send_error, "kernel refused to send")                                               \
    X(rtcp_malformed, "RTCP compound inconsistent with its length")                       \
    X(rtcp_bad_auth, "SRTCP authentication or replay check failed")                       \
    X(rtcp_foreign_ssrc, "RTCP about an SSRC that is not the sender's to speak of")

enum drop_reason {
#define X(name, text) DROP_##name,
    DROP_REASONS(X)
#undef X
    DROP_COUNT
};

#endif
