"""The file a device keeps its secret in: JSON, for its owner's eyes only (0600), replaced in one step.

A device loses power when it likes: the new file is complete on the disk before it takes the old one's name.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

import msgspec


class StateError(Exception):
    """The file cannot be used. The message says which, why and what to do."""


class State(msgspec.Struct, frozen=True, rename="camel"):
    """What must outlive a restart. Tokens are not in it: the secret gives new ones, and flash wears out."""

    sn: str
    model_id: str
    device_secret: str


class StateFile:
    """`path` need not exist yet; its directory must."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self, sn: str) -> State | None:
        """What is kept for this SN, None without a file. A file others can read is closed to them.

        Raises StateError.
        """
        try:
            content = self.path.read_bytes()
            if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
                with contextlib.suppress(OSError):  # a file system without modes, or another owner's file
                    self.path.chmod(0o600)
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise StateError(f"cannot read the state file {self.path}: {fault.strerror}") from fault
        try:
            state = msgspec.json.decode(content, type=State)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise StateError(
                f"{self.path} is not a device's state file ({fault}): move it away and register again"
            ) from fault
        if state.sn != sn:
            raise StateError(f"{self.path} belongs to the device {state.sn}, not to {sn}: each has its own file")
        return state

    def check(self) -> None:
        """Whether `write` would find a place, by making and removing the new file. Raises StateError."""
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            with open(self._beside(), "wb") as file:
                file.write(b"{}\n")
            self._new.unlink()
        except OSError as fault:
            raise StateError(
                f"cannot write the state file {self.path}: {fault.strerror}. The ticket was not used"
            ) from fault

    def write(self, state: State) -> None:
        """Raises StateError; the old content is then still there."""
        try:
            with open(self._beside(), "wb") as file:
                file.write(msgspec.json.encode(state) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._new.replace(self.path)
            directory = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as fault:
            raise StateError(f"cannot write the state file {self.path}: {fault.strerror}") from fault

    @property
    def _new(self) -> Path:
        return self.path.with_name(f".{self.path.name}.new")

    def _beside(self) -> int:
        """The new file, open and empty."""
        self._new.unlink(missing_ok=True)
        return os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
