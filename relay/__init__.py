"""A media relay for calls between hardware devices and mini programs.

Three planes: `media` forwards packets through the native pump, `calls` and `api` offer the call
interface of the WMPF VoIP plugin, and `node` wires them together and operates them.
"""

__version__ = "0.1.0"
