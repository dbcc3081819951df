/* The bare yardstick: the least a relay can do. One UDP port, recvmmsg, a table look-up, sendmmsg; no SRTP.
 *
 *     forwarder SECONDS < routes
 *
 * Prints its port on 127.0.0.1, reads lines "source-port destination-port" until end of input, prints "ready",
 * forwards, and exits after SECONDS so that it can't outlive a test. A source may have several destinations. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, PACKET = 2048, ROUTES = 4096, SOCKET_BUFFER = 1 << 22 };

struct route {
    struct sockaddr_in to;
    int next;                       /* further destination of the same source, or -1 */
};

static struct route routes[ROUTES];
static int first[65536];
static uint8_t bytes[BATCH][PACKET];
static struct sockaddr_in sources[BATCH];
static struct iovec in_vectors[BATCH], out_vectors[BATCH];
static struct mmsghdr in[BATCH], out[BATCH];

static void flush(int fd, unsigned int count)
{
    unsigned int done = 0;
    while (done < count) {
        int sent = sendmmsg(fd, out + done, count - done, 0);
        done += sent > 0 ? (unsigned int)sent : 1;      /* a refused packet is lost, like in any relay */
    }
}

int main(int argc, char **argv)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = SOCKET_BUFFER, used = 0;
    unsigned int source, destination;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t own_size = sizeof own;
    alarm(argc > 1 ? (unsigned int)atoi(argv[1]) : 30u);
    if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) != 0 ||
        getsockname(fd, (struct sockaddr *)&own, &own_size) != 0) {
        perror("forwarder");
        return 1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    printf("%u\n", ntohs(own.sin_port));
    fflush(stdout);

    memset(first, 0xff, sizeof first);
    while (used < ROUTES && scanf("%u %u", &source, &destination) == 2) {
        routes[used].to = own;
        routes[used].to.sin_port = htons((uint16_t)destination);
        routes[used].next = first[source & 0xffffu];
        first[source & 0xffffu] = used++;
    }
    for (int i = 0; i < BATCH; i++) {
        in_vectors[i] = (struct iovec){.iov_base = bytes[i], .iov_len = PACKET};
        in[i].msg_hdr = (struct msghdr){.msg_name = &sources[i], .msg_namelen = sizeof sources[i],
                                        .msg_iov = &in_vectors[i], .msg_iovlen = 1};
        out[i].msg_hdr = (struct msghdr){.msg_namelen = sizeof own, .msg_iov = &out_vectors[i], .msg_iovlen = 1};
    }
    printf("ready\n");
    fflush(stdout);

    for (;;) {
        unsigned int queued = 0;
        int count = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++) {
            for (int r = first[ntohs(sources[i].sin_port)]; r >= 0; r = routes[r].next) {
                out_vectors[queued].iov_base = bytes[i];
                out_vectors[queued].iov_len = in[i].msg_len;
                out[queued].msg_hdr.msg_name = &routes[r].to;
                if (++queued == BATCH) {
                    flush(fd, queued);
                    queued = 0;
                }
            }
            in[i].msg_hdr.msg_namelen = sizeof sources[i];
        }
        flush(fd, queued);
    }
}
