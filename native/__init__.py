"""The data plane: C11 in `core/` carries every packet, Cython gives it a Python face.

`pump.pyx` wraps the packet loop, `srtp.py` makes the SRTP sessions it uses. Packet memory belongs to C throughout:
Python sees copies of STUN and DTLS datagrams and of counters, never a packet. Importable without `relay`.
"""

from native.pump import DROP_REASONS, Pump

__all__ = ["DROP_REASONS", "Pump"]
