"""Every error code of the call interface with its text, and the one exception that carries them to a client.

The numbers are the WMPF VoIP plugin's (its backend below 1000, its client from 1000 on), so that code written
for the plugin needs no second table. A code says what went wrong for the caller's program; the HTTP status
says it for proxies and generic clients; the message says it for people.
"""

from enum import IntEnum


class Code(IntEnum):
    """Codes of the plugin's backend (1-24), of the plugin itself (1000-2104) and of its neighbours (§3.4)."""

    # wx.requestDeviceVoIP
    SCOPE_NOT_GRANTED = -12001
    ALREADY_GRANTED = 10001
    TICKET_WRONG = 10008
    REFUSED_BEFORE = 10021
    GROUP_NOT_GRANTABLE = 10025
    # getSnTicket, device registration, groups
    SN_TOO_LONG = 9800001
    SN_CHARACTERS = 9800002
    MODEL_WRONG = 9800003
    SN_NOT_REGISTERED = 9800004
    SN_TICKET_INVALID = 9800011
    GROUP_NAME = 9800012
    GROUP_UNKNOWN = 9800013
    GROUP_MODEL = 9800014
    IN_THIS_GROUP = 9800015
    GROUP_FULL = 9800016
    NOT_IN_GROUP = 9800017
    IN_OTHER_GROUP = 9800018
    TOO_MANY_GROUPS = 9800044
    # messages to a device
    INVALID_CREDENTIAL = 40001
    MESSAGE_PARAMETER = 40101
    MESSAGE_TOO_BIG = 45002
    NOBODY_LISTENS = 48012
    TOO_OFTEN = 45009

    BAD_ROOM_ID = 1
    BAD_DEVICE_ID = 2
    BAD_VOIP_ID = 3
    BAD_FACE_TOKEN = 4
    ROOM_NOT_MADE = 5
    BAD_OPENID = 7
    OPENID_NOT_AUTHORISED = 8
    NO_GRANT = 9
    NOT_APPROVED = 12
    DEVICE_TOKEN_WRONG = 13
    USER_TOKEN_WRONG = 14
    IN_ARREARS = 15
    TOKEN_MODEL_MISMATCH = 17
    OPENID_OTHER_APP = 19
    OPENID_INVALID = 20
    CHARGE_TYPE_REFUSED = 22
    LICENCE_EXPIRED = 23
    LICENCE_INACTIVE = 24

    DEVICE_TOKEN_UNAVAILABLE = 1000
    TOKEN_MISSING = 1001
    REQUEST_FAILED = 1002
    ANSWER_UNREADABLE = 1003
    WRONG_PARAMETER = 1004
    PLUGIN_BUSY = 1005
    ONLY_ON_DEVICE = 1006
    ONLY_IN_CLIENT = 1007
    INTERRUPTED = 1008
    UNSUPPORTED = 1011

    JOIN_FAILED = 2000
    OTHER_CALL = 2001
    MEDIA_RESET = 2002
    MEDIA_INIT = 2003
    MEDIA_JOIN = 2004
    JOIN_CALLBACK = 2005
    TALK_CALLBACK = 2006
    MEDIA_DEVICE = 2007
    SESSION_KEY = 2008
    LEFT_WHILE_JOINING = 2009
    JOIN_REQUEST = 2010
    SYSTEM_CALL = 2100
    NO_MEDIA_PERMISSION = 2102
    NO_API_PERMISSION = 2103
    BACKEND = 2104


TEXTS: dict[int, str] = {
    Code.SCOPE_NOT_GRANTED: "invalid scope: audio-video calls are not enabled for this device type",
    Code.ALREADY_GRANTED: "sn has been subscribed",
    Code.TICKET_WRONG: "the snTicket is wrong, used up or out of date",
    Code.REFUSED_BEFORE: "sn has been rejected; reopen the grant before asking again",
    Code.GROUP_NOT_GRANTABLE: "no such device group",
    Code.SN_TOO_LONG: "an SN has at most 128 bytes",
    Code.SN_CHARACTERS: "an SN has letters, digits, _ and - only",
    Code.MODEL_WRONG: "the model id is wrong",
    Code.SN_NOT_REGISTERED: "the SN is not registered",
    Code.SN_TICKET_INVALID: "the sn_ticket is invalid",
    Code.GROUP_NAME: "a group's name has 1 to 32 bytes",
    Code.GROUP_UNKNOWN: "no such group",
    Code.GROUP_MODEL: "the device type does not fit the group",
    Code.IN_THIS_GROUP: "the device is in this group already",
    Code.GROUP_FULL: "the group is full",
    Code.NOT_IN_GROUP: "the device is not in this group",
    Code.IN_OTHER_GROUP: "the device is in another group",
    Code.TOO_MANY_GROUPS: "there are as many groups as there may be",
    Code.INVALID_CREDENTIAL: "invalid credential",
    Code.MESSAGE_PARAMETER: "wrong parameter",
    Code.MESSAGE_TOO_BIG: "a message has at most 5120 bytes",
    Code.NOBODY_LISTENS: "the device is not connected",
    Code.TOO_OFTEN: "too many requests",
    Code.BAD_ROOM_ID: "no such call",
    Code.BAD_DEVICE_ID: "bad device id",
    Code.BAD_VOIP_ID: "bad voip id",
    Code.BAD_FACE_TOKEN: "bad voipToken (face mode)",
    Code.ROOM_NOT_MADE: "the room could not be made",
    Code.BAD_OPENID: "bad openid",
    Code.OPENID_NOT_AUTHORISED: "the openid is not authorised (face mode)",
    Code.NO_GRANT: "the user has not authorised this device",
    Code.NOT_APPROVED: "audio-video calls are not enabled for this release",
    Code.DEVICE_TOKEN_WRONG: "the device's token is wrong or has expired",
    Code.USER_TOKEN_WRONG: "the user's token, or the called device's pushToken, is wrong or has expired",
    Code.IN_ARREARS: "the account is in arrears",
    Code.TOKEN_MODEL_MISMATCH: "the model id does not fit the device or its token",
    Code.OPENID_OTHER_APP: "the openid does not belong to this appid",
    Code.OPENID_INVALID: "the openid is invalid",
    Code.CHARGE_TYPE_REFUSED: "this chargeType is not allowed",
    Code.LICENCE_EXPIRED: "the licence has expired",
    Code.LICENCE_INACTIVE: "the licence is not activated",
    Code.DEVICE_TOKEN_UNAVAILABLE: "the device token could not be fetched",
    Code.TOKEN_MISSING: "a bearer token is needed",
    Code.REQUEST_FAILED: "the request failed inside the server",
    Code.ANSWER_UNREADABLE: "the server's answer is unreadable",
    Code.WRONG_PARAMETER: "wrong parameter",
    Code.PLUGIN_BUSY: "this party is in another call",
    Code.ONLY_ON_DEVICE: "only a device may do this",
    Code.ONLY_IN_CLIENT: "only a user's client may do this",
    Code.INTERRUPTED: "interrupted",
    Code.UNSUPPORTED: "not supported",
    Code.JOIN_FAILED: "joining the room failed",
    Code.OTHER_CALL: "another call is going on",
    Code.MEDIA_RESET: "media: reset failed",
    Code.MEDIA_INIT: "media: start failed",
    Code.MEDIA_JOIN: "media: join failed",
    Code.JOIN_CALLBACK: "failure while joining",
    Code.TALK_CALLBACK: "failure during the talk",
    Code.MEDIA_DEVICE: "the audio or video device failed",
    Code.SESSION_KEY: "the join credential is wrong, used up or has expired",
    Code.LEFT_WHILE_JOINING: "left while joining",
    Code.JOIN_REQUEST: "the join request failed",
    Code.SYSTEM_CALL: "the other party is in another call",
    Code.NO_MEDIA_PERMISSION: "no permission for microphone or camera",
    Code.NO_API_PERMISSION: "this token may not do this",
    Code.BACKEND: "backend error",
}


class ApiError(Exception):
    """A request is refused; becomes `{"errCode": code, "errMsg": message}` with this HTTP status.

    `status` is 400-599; without `message` the code's own text is sent. `retry_s` becomes `Retry-After` of a 429 or
    503. Raised by calls, store and api, caught in one place (`relay/api/faults.py`).
    """

    def __init__(self, status: int, code: Code, message: str = "", *, retry_s: float = 1.0) -> None:
        super().__init__(message or TEXTS[code])
        self.status = status
        self.retry_s = retry_s
        self.code = int(code)
        self.message = message or TEXTS[code]
