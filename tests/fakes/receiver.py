"""A real HTTP receiver of webhooks, on a free port of loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from driftline_shared.host.loopback import free_port


class Receiver:
    """Keeps what is posted. `codes`: status codes of the next replies, then 204; `hangs`: it takes
    requests and says nothing.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.codes: list[int] = []
        self.headers: dict[str, str] = {}
        self.num_tries = 0
        self.hangs = threading.Event()
        self._going = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/hook?token=hidden"

    def bodies(self) -> list[dict[str, Any]]:
        """What came, without doubles."""
        found: dict[str, dict[str, Any]] = {}
        for _, data in list(self.requests):
            body = json.loads(data)
            found.setdefault(body["id"], body)
        return list(found.values())

    def up(self) -> None:
        """Be there."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.num_tries += 1
                data = self.rfile.read(int(self.headers["content-length"]))
                while receiver.hangs.is_set() and not receiver._going.wait(0.02):
                    pass
                code = receiver.codes.pop(0) if receiver.codes else 204
                if code == 204:
                    names = {name.lower(): value for name, value in self.headers.items()}
                    receiver.requests.append((names, data))
                try:
                    self.send_response(code)
                    for name, value in receiver.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    pass  # nobody waits any more

            def log_message(self, *_: object) -> None:
                pass

        self._going.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Be away."""
        self._going.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
