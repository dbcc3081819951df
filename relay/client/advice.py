"""What to do about an error code of the relay, as a sentence for whoever set the device up."""

_REGISTER = "register the device: relay device --sn SN --register TICKET --model-id MODEL --state FILE"

_ADVICE = {
    2: f"the operator adds the device (PUT /v1/devices/SN); then {_REGISTER}",
    5: "the relay has no room for another call now; try again later",
    7: "check the openid of the user to call",
    9: "this user has to agree first: the mini program asks with requestDeviceVoIP and a ticket for this device",
    12: "the operator approves the device type: PUT /v1/models/MODEL with approved true",
    13: f"the token or the secret is wrong or out of date; {_REGISTER}",
    15: "the account of this device type is in arrears; the operator settles it",
    17: "the token is another device type's; check the model id",
    19: "this user belongs to another mini program than the device type",
    20: "the relay does not know this user; the user signs in to the mini program first",
    22: "this device type may not be charged this way; the operator allows it: PUT /v1/models/MODEL",
    23: "the operator renews the licence of this device",
    24: "the operator activates the licence of this device",
    1005: "hang up first: a device has one call at a time",
    9800001: "an SN has at most 128 characters",
    9800002: "an SN has letters, digits, _ and - only",
    9800003: "check the model id; the operator makes device types with PUT /v1/models/MODEL",
    9800004: "the operator adds the device first: PUT /v1/devices/SN with the model id",
    9800011: "a ticket works once and for five minutes, for one SN and model: "
    "get a new one from the operator's server (POST /v1/tickets)",
}


def advice(code: int, retry_after_s: float = 0.0) -> str:
    """Empty when nothing better than the error's own text is known."""
    if retry_after_s:
        return f"try again in {retry_after_s:g} s"
    return _ADVICE.get(code, "")
