"""What `relay device` can ask of a relay without being in a call: a registration, a push token, a contact list."""

import argparse
import datetime
from collections.abc import Callable

from relay.client.device import Device


async def run(device: Device, args: argparse.Namespace, say: Callable[[str], None]) -> bool:
    """Do what the options ask for, in this order; False when they ask for nothing. Raises SignallingError,
    StateError.
    """
    if args.register:
        secret = await device.register(args.model_id, args.register)
        say(f"registered {args.sn} as a device of {args.model_id}")
        say(f"its secret is in {args.state}" if args.state else f"secret: {secret}")
    if args.push_token:
        given = await device.push_token()
        end = datetime.datetime.fromtimestamp(given.expire_timestamp, datetime.UTC)
        say(f"push token: {given.token}")
        say(f"good until {end:%Y-%m-%d %H:%M:%S} UTC (expireTimestamp {given.expire_timestamp})")
    if args.contacts:
        for contact in await device.contacts(args.contacts):
            say(f"{contact.openid}: {'may be called' if contact.allowed else 'has not agreed to be called'}")
    return bool(args.register or args.push_token or args.contacts)
