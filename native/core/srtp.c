/* See srtp.h. */
#include "srtp.h"

struct srtp_functions srtp;

enum drop_reason srtp_drop_reason(int status)
{
    switch (status) {
    case SRTP_AUTH_FAIL:
        return DROP_bad_auth;
    case SRTP_REPLAY_FAIL:
    case SRTP_REPLAY_OLD:
        return DROP_replayed;
    default:
        return DROP_srtp_failed;
    }
}
