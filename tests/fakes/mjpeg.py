"""A camera of the network: real MJPEG over HTTP, on a free port of loopback."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

QUALITY = 75


def jpeg(value: int, width: int = 64, height: int = 48) -> bytes:
    """A grey picture."""
    data = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, dtype=np.uint8)).save(
        data, "JPEG", quality=QUALITY, subsampling="4:2:0"
    )
    return data.getvalue()


class MjpegServer:
    """Sends `picture()` about 50 times a second to whoever asks, until closed.

    `port` 0 takes a free one. `most`: pictures after which a connection ends. While `stalled` is
    set, connections stay and nothing is sent.
    """

    def __init__(
        self, picture: Callable[[], bytes], *, port: int = 0, most: int | None = None
    ) -> None:
        self._ending = threading.Event()
        self.num_requests = 0
        self.num_pictures = 0
        self.stalled = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.num_requests += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                num_sent = 0
                try:
                    while not server._ending.is_set() and num_sent != most:
                        if not server.stalled.is_set():
                            self._send(picture())
                            num_sent += 1
                            server.num_pictures += 1
                        time.sleep(0.02)
                except OSError:
                    pass  # the reader went away

            def _send(self, data: bytes) -> None:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, with a user and a password."""
        return f"http://owner:secret@127.0.0.1:{self.port}/stream?token=secret"

    def close(self) -> None:
        """End all connections and stop listening."""
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
