"""An RTSP camera on loopback: asks for a password, sends JPEG over RTP inside the connection.

RTSP is RFC 2326, JPEG in RTP is RFC 2435: only the scan of each picture travels; the tables follow
from its quality.
"""

from __future__ import annotations

import base64
import re
import socketserver
import struct
import threading
import time
from collections.abc import Callable

from tests.fakes.mjpeg import QUALITY

_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=control:track1\r\n"
)
_REALM = 'WWW-Authenticate: Basic realm="test"\r\n'


class RtspServer:
    """Sends `picture()`, a JPEG of (48, 64), about 50 times a second to whoever may see it."""

    def __init__(self, picture: Callable[[], bytes], *, user: str, password: str) -> None:
        self._picture = picture
        self._key = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._ending = threading.Event()
        self.num_refused = 0
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    while not server._ending.is_set() and server._answer(self):
                        pass
                except OSError:
                    pass  # the reader went away

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """End all connections and stop listening."""
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, reader: socketserver.StreamRequestHandler) -> bool:
        """One request; whether there may be another. PLAY lasts until somebody goes away."""
        lines = []
        while line := reader.rfile.readline(4096).decode().strip():
            lines.append(line)
        if not lines:
            return False
        verb = lines[0].partition(" ")[0]
        headers = dict(re.split(r":\s*", line, maxsplit=1) for line in lines[1:])
        refused = verb != "OPTIONS" and headers.get("Authorization") != self._key
        self.num_refused += refused
        body = _SDP if verb == "DESCRIBE" and not refused else ""
        extra = {
            "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
            "DESCRIBE": "Content-Type: application/sdp\r\n",
            "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        }.get(verb, "")
        reader.wfile.write(
            (
                f"RTSP/1.0 {'401 Unauthorized' if refused else '200 OK'}\r\n"
                f"CSeq: {headers['CSeq']}\r\nSession: 1\r\n{_REALM if refused else extra}"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        if verb == "PLAY" and not refused:
            self._play(reader)
        return verb != "PLAY" or refused

    def _play(self, reader: socketserver.StreamRequestHandler) -> None:
        number = 0
        while not self._ending.is_set():
            packet = _rtp(self._picture(), number)
            reader.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            number += 1
            time.sleep(0.02)


def _rtp(picture: bytes, number: int) -> bytes:
    """The one RTP packet of a small picture: headers, then the scan between SOS and EOI."""
    start = picture.index(b"\xff\xda")
    scan = picture[start + 2 + int.from_bytes(picture[start + 2 : start + 4], "big") : -2]
    # Version 2, marker of the last packet, payload type 26; then type 1 (4:2:0) and size in blocks.
    rtp = struct.pack(">BBHII", 0x80, 0x80 | 26, number & 0xFFFF, number * 1800, 1)
    return rtp + struct.pack(">IBBBB", 0, 1, QUALITY, 64 // 8, 48 // 8) + scan
