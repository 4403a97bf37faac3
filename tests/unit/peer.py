"""A server that handles each connection as a test says, byte by byte."""

import contextlib
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Connection:
    """One accepted connection, `number` from 1."""

    def __init__(self, accepted: socket.socket, number: int) -> None:
        self._socket = accepted
        self.number = number

    def request(self) -> bytes:
        """The next whole request; empty when the client has closed the connection."""
        received = b""
        while True:
            head, end, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if end and len(body) >= (int(length[1]) if length else 0):
                return received
            chunk = self._socket.recv(65536)
            if not chunk:
                return b""
            received += chunk

    def everything(self) -> bytes:
        """All that comes until the client closes the connection."""
        received = b""
        with contextlib.suppress(OSError):
            while chunk := self._socket.recv(65536):
                received += chunk
        return received

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Handshake as the server."""
        self._socket = context.wrap_socket(self._socket, server_side=True)

    def drip_tls(self, context: ssl.SSLContext, size: int, every: float) -> bytes:
        """Handshake as the server, so many bytes each so many seconds; then return all that comes, decrypted."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        step: Callable[[], object] = tls.do_handshake
        received = b""
        with contextlib.suppress(OSError):  # the client closes with a reset: it has not read our session tickets
            while True:
                try:
                    received += step() or b""  # type: ignore[operator]
                    step = tls.read
                    continue
                except ssl.SSLWantReadError:
                    pass
                while data := outgoing.read(size):
                    self.send(data)
                    time.sleep(every)
                if not (chunk := self._socket.recv(65536)):
                    break
                incoming.write(chunk)
        return received

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def drip(self, data: bytes, every: float) -> None:
        for byte in data:
            self.send(bytes([byte]))
            time.sleep(every)

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def hang(self) -> None:
        """Wait until the client closes the connection."""
        with contextlib.suppress(OSError):
            while self._socket.recv(65536):
                pass

    def close(self) -> None:
        self._socket.close()


class Peer:
    """Serves each connection on 127.0.0.1 with `behave`, in a thread of its own. A context manager."""

    def __init__(self, behave: Callable[[Connection], None]) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[Connection] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        return len(self._open)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection._socket.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                connection = Connection(accepted, len(self._open) + 1)
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            self._behave(connection)
        connection.close()
