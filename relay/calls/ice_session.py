"""A leg's ICE session as HTTP sees it: an entity tag that changes with every restart (RFC 9725 §4.3)."""

import re

from relay.errors import ApiError, Code
from relay.media.messages import Media

UFRAG = re.compile(r"^a=ice-ufrag:([A-Za-z0-9+/]{4,256})\s*$", re.MULTILINE)  # RFC 8839 §5.4


class IceSession:
    """The current session of one leg: the peer's ufrag and how often it restarted."""

    __slots__ = ("leg", "restarts", "ufrag")

    def __init__(self, leg: str, offer: str) -> None:
        self.leg = leg
        self.restarts = 0
        self.ufrag = _ufrag(offer)

    @property
    def etag(self) -> str:
        return f'"{self.leg[:8]}-{self.restarts}"'

    async def patch(self, media: Media, fragment: str, if_match: str | None) -> str | None:
        """Take an RFC 8840 fragment; returns the answer to a restart, None for trickled candidates.

        Candidates are dropped: an ICE-lite relay learns addresses from checks alone. `if_match` is the
        header's value; without one the fragment is taken as it is, since many clients leave it out. Raises
        ApiError 412 for another session's tag, 400 without a ufrag, and MediaError.
        """
        if if_match is not None and if_match.strip() not in ("*", self.etag):
            raise ApiError(412, Code.JOIN_REQUEST, "If-Match names an ICE session that is not the current one")
        ufrag = _ufrag(fragment)
        if ufrag is None:
            raise ApiError(400, Code.WRONG_PARAMETER, "the fragment has no a=ice-ufrag line")
        if ufrag == self.ufrag:
            return None
        answer = await media.restart_leg(self.leg, fragment)
        self.ufrag = ufrag
        self.restarts += 1
        return answer


def _ufrag(text: str) -> str | None:
    match = UFRAG.search(text)
    return match[1] if match else None
