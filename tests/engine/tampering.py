"""A wire that somebody sits on: it carries bytes between a site and its server, and can change and repeat them."""

from __future__ import annotations

import contextlib
import socket
import threading


class Wire:
    """Listens on a port of the loopback and carries every connection on to another."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self.flip_next = False
        self.carried: list[bytes] = []
        self._site: socket.socket | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                site, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    site.close()
                    continue
                self.connections += 1
                self._site = site
                threading.Thread(target=self._carry, args=(site, server, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, site, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, to_site: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if to_site:
                    data = self._change(data)
                    self.carried.append(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)
        source.close()

    def _change(self, data: bytes) -> bytes:
        """Flip a bit in the middle of the next long piece, if asked to."""
        if not self.flip_next or len(data) < 5000:
            return data
        self.flip_next = False
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    def repeat(self, data: bytes) -> None:
        """Send to the site what was sent before."""
        assert self._site is not None
        self._site.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
