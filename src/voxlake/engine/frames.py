"""Messages over a stream socket: eight bytes of length, then the bytes."""

from __future__ import annotations

import socket
import struct
from typing import IO

__all__ = ["Inbox", "read_frame", "send_frame"]

_LENGTH = struct.Struct("!Q")
# Below this size one copy is cheaper than a second system call.
_JOIN_BELOW = 1 << 16
_CHUNK = 1 << 16
_LARGE_CHUNK = 1 << 20


def send_frame(connection: socket.socket, message: bytes) -> None:
    """Send one message; blocks until the other side has taken all but the last buffer of it."""
    header = _LENGTH.pack(len(message))
    if len(message) < _JOIN_BELOW:
        connection.sendall(header + message)
    else:
        connection.sendall(header)
        connection.sendall(message)


def read_frame(stream: IO[bytes]) -> bytes:
    """Wait for one message.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    message = stream.read(length)
    if len(message) < length:
        raise EOFError
    return message


class Inbox:
    """Collects what arrives, so that half a message never blocks and many are read at once."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def wanted(self) -> int:
        """A good number of bytes to read next."""
        if len(self._buffer) < _LENGTH.size:
            return _CHUNK
        length: int = _LENGTH.unpack_from(self._buffer)[0]
        return min(_LARGE_CHUNK, max(_CHUNK, length + _LENGTH.size - len(self._buffer)))

    def take(self, data: bytes) -> list[bytes]:
        """Add what was read and return the messages that are complete, oldest first."""
        buffer = self._buffer
        buffer += data
        messages = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            messages.append(bytes(memoryview(buffer)[start + _LENGTH.size : end]))
            start = end
        del buffer[:start]
        return messages
