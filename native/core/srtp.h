/* SRTP through libsrtp's function pointers (RFC 3711, RFC 7714).
 *
 * The library is the one inside the pylibsrtp package; native/srtp.py hands its addresses over once and builds the
 * sessions. A session belongs to its leg and is only used under the pump's mutex.
 */
#ifndef RELAY_SRTP_H
#define RELAY_SRTP_H

#include "drops.h"
#include <stdint.h>

#define SRTP_MAX_TRAILER 32 /* largest tag of our profiles (16) plus the SRTCP index (4), rounded up */

enum { SRTP_OK = 0, SRTP_AUTH_FAIL = 7, SRTP_REPLAY_FAIL = 9, SRTP_REPLAY_OLD = 10 };

typedef int (*srtp_function)(void *session, void *packet, int *len);

struct srtp_functions {
    srtp_function protect, unprotect, protect_rtcp, unprotect_rtcp;
};

extern struct srtp_functions srtp;

enum drop_reason srtp_drop_reason(int status);

#endif
