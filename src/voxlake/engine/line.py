"""The driver's end of the connection to one worker process."""

from __future__ import annotations

import pickle
import socket
import time
import weakref
from contextlib import suppress

from voxlake.engine.frames import Inbox, send_frame
from voxlake.engine.ledger import PICKLE_PROTOCOL

__all__ = ["Line"]


class Line:
    """Sends work to a worker and reads its answers.

    Parameters
    ----------
    connection : socket
        One end of a pair; the worker holds the other.

    Attributes
    ----------
    since : float
        When the worker was last sent something or heard (monotonic seconds).
    died_unread : bool
        Whether it certainly died before it had read what it was sent last.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.since = time.monotonic()
        self.died_unread = False
        # Also for an engine that nobody closes: hanging up lets the worker leave.
        self.hang_up = weakref.finalize(self, connection.close)
        self._inbox = Inbox()

    def send(self, content: bytes | list[bytes], memory: int | None = None) -> None:
        """Send a function or a batch of items; only to a worker that is reading.

        Raises
        ------
        EOFError
            If the worker is gone or does not read.
        """
        try:
            send_frame(self.connection, pickle.dumps((content, memory), protocol=PICKLE_PROTOCOL))
        except OSError:
            self.died_unread = True
            raise EOFError from None
        self.since = time.monotonic()

    def receive(self) -> list[bytes]:
        """Read what has arrived, after waiting for the connection to be readable.

        Raises
        ------
        EOFError
            If nothing more will come.
        """
        try:
            data = self.connection.recv(self._inbox.wanted)
        except ConnectionResetError:
            # A Unix socket is reset, not closed, when the peer goes and leaves something unread.
            self.died_unread = True
            raise EOFError from None
        except OSError:
            raise EOFError from None
        if not data:
            raise EOFError
        # Whoever is heard is not hanging: large results take a while to arrive.
        self.since = time.monotonic()
        return self._inbox.take(data)

    def drain(self) -> list[bytes]:
        """Read the last words of a dead worker."""
        messages: list[bytes] = []
        # At the exit of the interpreter the connection may have been closed before.
        with suppress(EOFError, OSError):
            self.connection.setblocking(False)
            while True:
                messages += self.receive()
        return messages
