"""Session descriptions (RFC 8866) and trickle fragments (RFC 8840): text to structure and back, grammar only.

What a description means, and what of it we accept, is `negotiate`'s affair. Everything a peer can make
long is bounded, and every fault is an `SdpError`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from relay.protocol.ice import Credentials

# A browser's offer with every codec it knows has 10 kB and 250 lines for two m-lines.
MAX_BYTES = 65536
MAX_LINES = 2000
MAX_MEDIA = 64

Attribute = tuple[str, str | None]
"""Name and value of an `a=` line; None where it has no value, as in `a=rtcp-mux`."""

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")

# RFC 8866 §9: token-char.
_TOKEN = frozenset("!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz{|}~")
# RFC 8839 §5.4: ice-char.
_ICE = frozenset("+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

# Types that may stand before the first m-line and after one, besides those read by name. Their order is not
# checked: several stacks get it wrong and nothing depends on it.
_SESSION_TYPES = frozenset("iuepcbtrzka")
_MEDIA_TYPES = frozenset("icbka")


class SdpError(ValueError):
    """The text is no session description, or a larger one than anybody needs."""


@dataclass
class Part:
    """Something with attributes: the session part or an m-line."""

    attributes: list[Attribute] = field(default_factory=list, kw_only=True)
    connection: str | None = field(default=None, kw_only=True)

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.attributes)

    def value(self, name: str) -> str | None:
        """The value of the first attribute of that name; None if there is none or it has no value."""
        return next((value for key, value in self.attributes if key == name), None)

    def values(self, name: str) -> Iterator[str]:
        """The values of all attributes of that name that have one, in order."""
        return (value for key, value in self.attributes if key == name and value is not None)

    def add(self, name: str, value: str | None = None) -> None:
        self.attributes.append((name, value))


@dataclass
class Media(Part):
    """One m-line and what belongs to it. `count` is the number behind the port's slash, usually 1."""

    kind: str
    port: int
    protocol: str
    formats: list[str]
    count: int = 1
    other: list[str] = field(default_factory=list)
    """Lines of the types i, b and k, whole, as they came."""

    def lines(self) -> Iterator[str]:
        port = f"{self.port}/{self.count}" if self.count != 1 else str(self.port)
        yield f"m={self.kind} {port} {self.protocol} {' '.join(self.formats)}"
        if self.connection is not None:
            yield f"c={self.connection}"
        yield from self.other
        yield from _attribute_lines(self.attributes)


@dataclass
class Session(Part):
    """A whole description; `str()` writes it.

    `origin` is the o= line's value, six fields.
    """

    origin: str
    name: str = "-"
    timing: str = "0 0"
    media: list[Media] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    """Lines of the session part that are neither v, o, s, c, t nor a, whole, as they came."""

    def __str__(self) -> str:
        lines = ["v=0", f"o={self.origin}", f"s={self.name}"]
        if self.connection is not None:
            lines.append(f"c={self.connection}")
        lines += [f"t={self.timing}", *self.other, *_attribute_lines(self.attributes)]
        for media in self.media:
            lines += media.lines()
        return "\r\n".join([*lines, ""])


def parse(text: str) -> Session:
    """Parse a description; line ends may be CRLF or LF.

    Raises:
        SdpError: and nothing else, whatever the text.
    """
    lines = _lines(text)
    if [kind for kind, _ in lines[:3]] != ["v", "o", "s"]:
        raise SdpError("a description begins with v=, o=, s=")
    if lines[0][1] != "0":
        raise SdpError("the version is not 0")
    origin = lines[1][1]
    if len(origin.split(" ")) != 6 or not all(origin.split(" ")):
        raise SdpError("o= has not six fields")
    session = Session(origin, lines[2][1])
    timing: str | None = None
    media: Media | None = None
    for kind, value in lines[3:]:
        if kind == "m":
            if len(session.media) == MAX_MEDIA:
                raise SdpError(f"more than {MAX_MEDIA} m-lines")
            media = _media(value)
            session.media.append(media)
        elif kind not in (_SESSION_TYPES if media is None else _MEDIA_TYPES):
            raise SdpError(f"a line of type {kind!r} is out of place")
        elif kind == "a":
            (media or session).attributes.append(_attribute(value))
        elif kind == "c":
            (media or session).connection = _connection(value)
        elif media is not None:
            media.other.append(f"{kind}={value}")
        elif kind == "t" and timing is None:
            timing = value
        else:
            session.other.append(f"{kind}={value}")
    # RFC 8866 §5 demands t=; who leaves it out means "0 0", and nothing hangs on it.
    session.timing = timing or "0 0"
    return session


def parse_fragment(text: str) -> Credentials | None:
    """The ICE credentials of an `application/trickle-ice-sdpfrag` body (RFC 8840 §9).

    Its candidates are skipped: an ICE-lite agent sends no checks and so has no use for them. None if the
    fragment carries no credentials.

    Raises:
        SdpError: and nothing else, whatever the text.
    """
    found = Part()
    for kind, value in _lines(text):
        if kind == "a":
            found.attributes.append(_attribute(value))
        elif kind == "m":
            _media(value)
        elif kind not in "vostcb":
            raise SdpError(f"a line of type {kind!r} is out of place")
    return credentials(found)


def credentials(*parts: Part) -> Credentials | None:
    """`a=ice-ufrag` and `a=ice-pwd` (RFC 8839 §5.4) of the first part that has them; None if none has.

    Raises:
        SdpError: if one stands without the other, or has characters or a length it may not have.
    """
    for part in parts:
        ufrag, pwd = part.value("ice-ufrag"), part.value("ice-pwd")
        if ufrag is None and pwd is None:
            continue
        if ufrag is None or pwd is None:
            raise SdpError("ice-ufrag and ice-pwd go together")
        if not 4 <= len(ufrag) <= 256 or not _ICE.issuperset(ufrag):
            raise SdpError("ice-ufrag is not 4 to 256 ice-chars")
        if not 22 <= len(pwd) <= 256 or not _ICE.issuperset(pwd):
            raise SdpError("ice-pwd is not 22 to 256 ice-chars")
        return Credentials(ufrag, pwd)
    return None


def number(text: str, low: int, high: int, what: str) -> int:
    """A decimal number within bounds.

    Raises:
        SdpError: naming `what` it was to be. (int() alone takes signs, blanks, underscores and any script.)
    """
    if not text.isascii() or not text.isdigit() or len(text) > 20 or not low <= int(text) <= high:
        raise SdpError(f"{what} is not a number from {low} to {high}")
    return int(text)


def token(text: str, what: str) -> str:
    """A token (RFC 8866 §9).

    Raises:
        SdpError: naming `what` it was to be.
    """
    if not text or not _TOKEN.issuperset(text):
        raise SdpError(f"{what} is not a token")
    return text


def _lines(text: str) -> list[tuple[str, str]]:
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SdpError(f"more than {MAX_BYTES} bytes")
    raw = text.split("\n")
    if len(raw) > MAX_LINES:
        raise SdpError(f"more than {MAX_LINES} lines")
    lines: list[tuple[str, str]] = []
    for line in raw:
        stripped = line.removesuffix("\r")
        if not stripped:
            continue  # the end, or a blank line as some tools leave behind
        if len(stripped) < 2 or stripped[1] != "=" or not "a" <= stripped[0] <= "z":
            raise SdpError("a line is not of the form x=value")
        if "\r" in stripped or "\0" in stripped:  # RFC 8866 §9: byte-string
            raise SdpError("a line holds a control character")
        lines.append((stripped[0], stripped[2:]))
    return lines


def _media(value: str) -> Media:
    kind, *rest = value.split(" ")
    if len(rest) < 3:
        raise SdpError("an m-line has fewer than four fields")
    port, slash, count = rest[0].partition("/")
    for part in rest[1].split("/"):
        token(part, "the protocol of an m-line")
    for name in rest[2:]:
        token(name, "a format of an m-line")
    return Media(
        token(kind, "the kind of an m-line"),
        number(port, 0, 65535, "the port of an m-line"),
        rest[1],
        rest[2:],
        number(count, 1, 65535, "the number of ports") if slash else 1,
    )


def _attribute(value: str) -> Attribute:
    name, colon, rest = value.partition(":")
    return token(name, "the name of an attribute"), rest if colon else None


def _connection(value: str) -> str:
    if len(value.split(" ")) != 3:
        raise SdpError("c= has not three fields")
    return value


def _attribute_lines(attributes: list[Attribute]) -> Iterator[str]:
    return (f"a={name}" if value is None else f"a={name}:{value}" for name, value in attributes)
