"""The ICE-lite agent of one leg (RFC 8445) and its consent (RFC 7675).

The relay never sends checks: it answers those of the full agent on the other side, learns addresses from
them, and lets the peer nominate. Nothing is learned, answered or prolonged by a request that is not
authenticated, so a stranger gets no byte back.

Consent (RFC 7675): a lite agent sends no checks of its own, so it takes those it receives for the other
side's will to receive. It runs out `consent_s` after the last authenticated request.
"""

from dataclasses import dataclass

from relay.protocol import stun
from relay.protocol.stun import Address

__all__ = [
    "Address",
    "ConsentExpired",
    "Credentials",
    "Dropped",
    "IceLite",
    "IceOutput",
    "Selected",
    "Transmit",
    "Validated",
]


@dataclass(frozen=True)
class Credentials:
    """One side's short-term credentials (RFC 8445 §5.3): fragment 4..256 characters, password 22..256."""

    ufrag: str
    pwd: str

    def __repr__(self) -> str:
        return "Credentials(...)"  # no key reaches a log by accident


@dataclass(frozen=True)
class Transmit:
    """Send `data` to `to`."""

    data: bytes
    to: Address


@dataclass(frozen=True)
class Validated:
    """The first authenticated check arrived from this address: DTLS from there may be heard."""

    address: Address


@dataclass(frozen=True)
class Selected:
    """The peer nominated this address: media goes there from now on. Comes only when it changes."""

    address: Address


@dataclass(frozen=True)
class Dropped:
    """This address fell out of the table: nothing from there may be heard any more."""

    address: Address


@dataclass(frozen=True)
class ConsentExpired:
    """The peer has been silent too long: nothing may be sent to it. The last output until a restart."""


IceOutput = Transmit | Validated | Selected | Dropped | ConsentExpired


class IceLite:
    """The controlled lite agent of one leg.

    `local` and `remote` are the credentials of the answer and the offer. `consent_s` counts from construction
    too, so an agent nobody ever checks expires as well. At most `max_addresses` addresses are known at a
    time; the one least recently heard, never the selected one, makes room.
    """

    def __init__(
        self,
        local: Credentials,
        remote: Credentials,
        now: float,
        *,
        consent_s: float = 30.0,
        max_addresses: int = 8,
    ) -> None:
        assert consent_s > 0
        assert max_addresses >= 2
        self._local = local
        self._remote = remote
        self._previous: tuple[Credentials, Credentials] | None = None
        self._consent_s = consent_s
        self._max_addresses = max_addresses
        self._heard = now
        self._expired = False
        # Address -> whether it was validated under the present credentials; by when it was last heard.
        self._addresses: dict[Address, bool] = {}
        self._selected: Address | None = None

    def receive(self, datagram: bytes, source: Address, now: float) -> list[IceOutput]:
        """Take one STUN datagram. Never raises for what is in it; [] for whatever earns no answer."""
        if self._expired:
            return []
        try:
            message = stun.parse(datagram)
        except stun.StunError:
            return []
        if message.type != stun.BINDING_REQUEST:
            # Answers belong to checks we never send; an indication neither needs an answer nor renews
            # consent, for it isn't authenticated (RFC 8445 §11, RFC 7675 §5.1).
            return []
        password, current = self._authenticate(message)
        if password is None:
            return []
        refusal = _refusal(message, password)
        if refusal is not None:
            return [Transmit(refusal, source)]
        self._heard = now
        output: list[IceOutput] = [Transmit(stun.binding_success(message.transaction, source, password), source)]
        if current and self._previous is not None:
            output += self._retire_previous()
        output += self._hear(source, current)
        if stun.USE_CANDIDATE in message.attributes:
            output += self._select(source)
        return output

    def deadline(self) -> float | None:
        """When consent runs out; None once it has."""
        return None if self._expired else self._heard + self._consent_s

    def timeout(self, now: float) -> list[IceOutput]:
        if self._expired or now < self._heard + self._consent_s:
            return []
        self._expired = True
        return [ConsentExpired()]

    def restart(self, local: Credentials, remote: Credentials, now: float) -> None:
        """Begin an ICE restart (RFC 8445 §9): media stays where it is until the peer nominates anew.

        The present credentials stay good until the first check that uses the new ones, for the peer may not
        have seen our answer yet. Consent starts afresh, even if it had run out.
        """
        if not self._expired:
            self._previous = (self._local, self._remote)
        self._local = local
        self._remote = remote
        self._heard = now
        self._expired = False
        self._addresses = dict.fromkeys(self._addresses, False)

    def _authenticate(self, message: stun.Message) -> tuple[str | None, bool]:
        """The password the message was made with, and whether that is of the present credentials."""
        user = message.attributes.get(stun.USERNAME)
        generations = [(self._local, self._remote, True)]
        if self._previous is not None:
            generations.append((*self._previous, False))
        for local, remote, current in generations:
            expected = f"{local.ufrag}:{remote.ufrag}".encode()
            if user == expected and message.authentic(local.pwd):
                return local.pwd, current
        return None, False

    def _hear(self, source: Address, current: bool) -> list[IceOutput]:
        known = self._addresses.pop(source, None)
        self._addresses[source] = current or bool(known)
        if known is not None:
            return []
        output: list[IceOutput] = [Validated(source)]
        if len(self._addresses) > self._max_addresses:
            oldest = next(address for address in self._addresses if address != self._selected)
            del self._addresses[oldest]
            output.append(Dropped(oldest))
        return output

    def _select(self, source: Address) -> list[IceOutput]:
        # Browsers renominate against a lite agent whenever their network changes, so the last nomination wins
        # whatever its priority.
        former = self._selected
        if former == source:
            return []
        self._selected = source
        output: list[IceOutput] = [Selected(source)]
        if former is not None and not self._addresses[former]:
            del self._addresses[former]
            output.append(Dropped(former))
        return output

    def _retire_previous(self) -> list[IceOutput]:
        self._previous = None
        # The selected one goes when the peer nominates another (RFC 8445 §2.4: media flows on meanwhile).
        retired = [address for address, current in self._addresses.items() if not current and address != self._selected]
        for address in retired:
            del self._addresses[address]
        return [Dropped(address) for address in retired]


def _refusal(message: stun.Message, password: str) -> bytes | None:
    """The error answer an authenticated request has earned, if any."""
    attributes = message.attributes
    unknown = tuple(a for a in attributes if a < 0x8000 and a not in stun.UNDERSTOOD)
    if unknown:  # RFC 8489 §6.3.1
        return stun.binding_error(message.transaction, 420, password, unknown)
    if stun.PRIORITY not in attributes:  # RFC 8445 §7.1.1: every check carries it
        return stun.binding_error(message.transaction, 400, password)
    if stun.ICE_CONTROLLED in attributes:
        # RFC 8445 §7.3.1.1: we are controlled and, being lite, cannot become anything else.
        return stun.binding_error(message.transaction, 487, password)
    return None
