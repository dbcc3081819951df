"""Protocols without I/O: bytes or text and a time go in, bytes, events and deadlines come out.

Nothing below this package imports sockets, tasks, clocks or randomness. The cores that keep state (`ice`,
`dtls`) share one shape: `receive(datagram, now)` and `timeout(now)` return the list of outputs of that one
change, `deadline()` says when `timeout` wants to be called next (None: never). `now` is a monotonic time
in seconds. A fault of the peer is one declared exception per parser, or no output at all; nothing a peer
sends raises anything else.

| module      | what                                                    | source                      |
|-------------|---------------------------------------------------------|-----------------------------|
| `stun`      | messages on the wire                                    | RFC 8489                    |
| `ice`       | the lite agent and consent                              | RFC 8445, 7675              |
| `dtls`      | the handshake and the SRTP keys                         | RFC 6347, 5764, 8842        |
| `sdp`       | descriptions and fragments, grammar only                | RFC 8866, 8840              |
| `codecs`    | what an offer says of codecs, which receiver takes what | RFC 6184, 7798, 9628, ...   |
| `negotiate` | offer to answer: all policy of codecs and extensions    | RFC 9429, 3264, 9143, 8843  |
"""
