"""Requests in Prometheus's terms: counters and a histogram, with labels from short lists only."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From an answer of an accelerator to one of a small board with a queue before it."""

OTHER = "other"

METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})


class RequestMetrics:
    """`routes`: the paths that there are, with `{name}` for what differs; others count as one."""

    def __init__(self, registry: CollectorRegistry, routes: Sequence[str]) -> None:
        self._fixed = {route for route in routes if "{" not in route}
        self._open = {route.partition("{")[0]: route for route in routes if "{" in route}
        self._requests = Counter(
            "driftline_device_api_requests",
            "Requests of the local API that were replied to.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "driftline_device_api_request_seconds",
            "From the whole header of a request to the end of its reply.",
            ("route",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._under_way = Gauge(
            "driftline_device_api_requests_under_way",
            "Requests whose reply is not at its end.",
            registry=registry,
        )

    def begun(self) -> None:
        """A request has come."""
        self._under_way.inc()

    def ended(self, *, path: str, method: str, status: int, seconds: float) -> None:
        """Its reply is at its end; `status` 0: the client left before there was one."""
        route = self._route(path)
        self._under_way.dec()
        self._requests.labels(route, method if method in METHODS else OTHER, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def _route(self, path: str) -> str:
        for each in (path, f"/v1{path}"):
            if each in self._fixed:
                return each
        return next((name for start, name in self._open.items() if path.startswith(start)), OTHER)
