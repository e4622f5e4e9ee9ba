"""A proxy that loses requests and answers, as a bad network and a busy store do.

Run as ``python -m voxlake.testing.faulty_proxy PORT SHARE SEED [CERTIFICATE KEY]``: it prints its own port
and lives until its input closes. Of the requests for the server at `PORT`, a share ends with one of: 503
SlowDown; 429; 500; a connection that is cut before the server sees anything; one that is cut after the server
has done what was asked; an answer that is cut half-way.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

__all__ = ["main", "serve"]

_BUSY = {
    503: b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    429: b"<Error><Code>TooManyRequests</Code></Error>",
    500: b"<Error><Code>InternalError</Code></Error>",
}
_FAULTS = ("503", "503", "429", "500", "lost", "unanswered", "cut")


class Proxy:
    """Hands each request on by a connection of its own.

    Parameters
    ----------
    port : int
        Of the server, on this machine.
    share : float
        Of requests that end badly.
    seed : int
        Of the choice.
    """

    def __init__(self, port: int, share: float, seed: int) -> None:
        self._port = port
        self._share = share
        # Tests repeat the same faults.
        self._random = random.Random(seed)  # noqa: S311

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: one request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await _message(reader)
            fault = self._random.choice(_FAULTS) if self._random.random() < self._share else ""
            if fault.isdigit():
                body = _BUSY[int(fault)]
                head = f"HTTP/1.1 {fault} Busy\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + body)
            elif fault != "lost":
                answer = await self._ask(request)
                if fault == "cut":
                    answer = answer[: len(answer) // 2]
                if fault != "unanswered":
                    writer.write(answer)
            await writer.drain()
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        writer.write(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
        await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head + await reader.readexactly(length)


async def serve(port: int, share: float, seed: int, certificate: Sequence[str]) -> None:
    """Serve until the standard input closes; see the module."""
    secure = None
    if certificate:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(*certificate)
    server = await asyncio.start_server(Proxy(port, share, seed).handle, "127.0.0.1", 0, ssl=secure)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, partial(sys.stdin.read))


def main() -> None:
    """Read the command line."""
    port, share, seed, *certificate = sys.argv[1:]
    asyncio.run(serve(int(port), float(share), int(seed), certificate))


if __name__ == "__main__":
    main()
