"""Events as HTTP requests, one JSON body each, signed as Standard Webhooks 1.0 says
(standardwebhooks.com): whoever receives them can tell that this device sent them, when, and
whether it has them already.

    webhook-id          id of the event, the same at every try
    webhook-timestamp   seconds since 1970 of this try
    webhook-signature   v1,base64(HMAC-SHA256(secret, id.timestamp.body))
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from urllib.parse import urlsplit

from driftline_device.sinks.courier import Taken, UndeliveredError
from driftline_device.sinks.event import Event
from driftline_shared.host.clock import Clock
from driftline_shared.host.loopback import is_loopback

REFUSED = (400, 405, 413, 414, 415, 422)
"""Status codes that the same event would get again; others may be mended at the other side."""

SECRET_PREFIX = "whsec_"
"""A secret that begins so is base64, as the standard writes them."""


class Webhook:
    """The `Transport` that posts to `url`; `secret` None: unsigned."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        secret: bytes | None = None,
        authorization: str = "",
        ca_file: str | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._url = url
        self._clock = clock
        self._secret = secret
        self._authorization = authorization
        self._timeout_s = timeout_s
        host = urlsplit(url).hostname or ""
        # A proxy is for the network; this machine is reached as it is.
        proxies = urllib.request.ProxyHandler({} if is_loopback(host) else None)
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
        self._opener = urllib.request.build_opener(proxies, tls, _NoRedirect())

    def start(self, wake: Callable[[], None]) -> None:
        """See `Transport`."""

    def tend(self) -> None:
        """See `Transport`."""

    def deliver(self, events: Sequence[Event], taken: Taken) -> None:
        """See `Transport`."""
        for event in events:
            taken(event, refused=self._post(event))

    def close(self) -> None:
        """See `Transport`."""

    def _post(self, event: Event) -> str:
        """Why the event is refused for ever; empty where it was taken."""
        body = json.dumps(event.body).encode()
        request = urllib.request.Request(
            self._url, data=body, headers=self._headers(event, body), method="POST"
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                reply.read(1 << 16)
                return ""
        except urllib.error.HTTPError as error:
            with error:
                said = f"HTTP {error.code} {error.reason}"
                if error.code in REFUSED:
                    return said
                raise UndeliveredError(said, after_s=_seconds(error)) from error
        except urllib.error.URLError as error:
            raise UndeliveredError(_cause(error.reason)) from error
        except (OSError, HTTPException) as error:
            raise UndeliveredError(_cause(error)) from error

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._clock.now_s()))
        headers = {
            "content-type": "application/json",
            "user-agent": "driftline",
            "webhook-id": event.id,
            "webhook-timestamp": timestamp,
        }
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, event.id, timestamp, body)
        if self._authorization:
            headers["authorization"] = self._authorization
        return headers


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another address would get what is meant for this one."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def signature(secret: bytes, event_id: str, timestamp: str, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = b".".join([event_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def key_of(secret: str) -> bytes:
    """The key that the text of a secret means; ValueError for broken base64."""
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    return secret.encode()


def _seconds(error: urllib.error.HTTPError) -> float:
    """What `Retry-After` asks for; dates are not read."""
    asked = error.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else 0.0


def _cause(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
