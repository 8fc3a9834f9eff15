"""A headless Chromium over its DevTools pipe: opens a page of ours, looks at it, takes its picture.

The pipe (file descriptors 3 and 4 of the browser, JSON ended by a zero byte) needs neither a port
nor a package: https://chromedevtools.github.io/devtools-protocol/. The browser has a profile of its
own for as long as it runs, and no network but files.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from driftline_shared.errors import DriftlineError, MissingPackageError

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell")
ANSWER_S = 60.0
"""A browser that says nothing for this long hangs."""

MOST_HEIGHT = 16_000
ANOTHER_BROWSER = "The page is written; take the picture with another Chromium, or without one."
"""Pixels of a picture: more than a browser can draw at once."""

FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--proxy-server=127.0.0.1:9",
)
"""The proxy is the discard port of this machine: what asked for a network would get an error."""


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One tab. `events`: what the page did since it was opened, as DevTools names it."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._pending = b""
        self._number = 0
        self._session = self._target = ""
        self.events: list[dict[str, Any]] = []

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Browser]:
        """A browser for the block; MissingPackageError where there is none."""
        path = find_browser()
        if path is None:
            raise MissingPackageError(
                "no Chromium is installed", "Install Chromium (Debian: apt-get install chromium)."
            )
        to_browser, from_browser = os.pipe(), os.pipe()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            # A root's browser has no sandbox; a user's keeps it.
            flags = [*FLAGS, f"--user-data-dir={profile}"]
            flags += ["--no-sandbox"] if os.geteuid() == 0 else []
            # The browser's ends must be 3 and 4 there: the shell puts them.
            script = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
            process = subprocess.Popen(
                ["/bin/bash", "-c", script, path, *flags],
                pass_fds=(to_browser[0], from_browser[1]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            os.close(to_browser[0])
            os.close(from_browser[1])
            try:
                yield cls(to_browser[1], from_browser[0])
            finally:
                os.close(to_browser[1])
                os.close(from_browser[0])
                process.kill()
                process.wait()

    def open(self, page: Path | str, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Show a file, or an address of this machine, at that size in pixels, and wait until it is
        loaded.
        """
        address = page if isinstance(page, str) else page.resolve().as_uri()
        self.events.clear()
        if self._session:
            self._ask("Target.closeTarget", {"targetId": self._target}, session="")
        self._target = self._ask("Target.createTarget", {"url": "about:blank"}, session="")[
            "targetId"
        ]
        attach = {"targetId": self._target, "flatten": True}
        self._session = self._ask("Target.attachToTarget", attach, session="")["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable", {})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._ask("Page.navigate", {"url": address})
        self._wait("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self._ask("Runtime.evaluate", asked)
        if "exceptionDetails" in found:
            raise DriftlineError(f"the browser's script raised: {found['exceptionDetails']}")
        return found["result"].get("value")

    def screenshot(self, most_height: int = MOST_HEIGHT) -> bytes:
        """The page from its top on as PNG, at most `most_height` pixels high."""
        size = self._ask("Page.getLayoutMetrics", {})["cssContentSize"]
        height = min(size["height"], most_height)
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}
        asked = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        return base64.b64decode(self._ask("Page.captureScreenshot", asked)["data"])

    def _ask(self, method: str, params: dict[str, Any], *, session: str | None = None) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            found = self._next()
            if found.get("id") == self._number:
                if "error" in found:
                    raise DriftlineError(
                        f"the browser refused {method}: {found['error']}", fix=ANOTHER_BROWSER
                    )
                return found["result"]
            self.events.append(found)

    def _wait(self, method: str) -> None:
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWER_S
        while b"\0" not in self._pending:
            wait_s = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._read], [], [], wait_s)
            more = os.read(self._read, 1 << 16) if ready else b""
            if not more:
                raise DriftlineError("the browser ended or hangs", fix=ANOTHER_BROWSER)
            self._pending += more
        line, _, self._pending = self._pending.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found
