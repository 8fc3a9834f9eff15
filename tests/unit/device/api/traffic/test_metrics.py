"""Labels come from short lists, whatever is asked for."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from driftline_device.api.traffic.metrics import RequestMetrics


def test_paths_that_are_not_there_count_as_one() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry, ["/health", "/v1/responses", "/v1/models/{name}"])
    for path in ("/health", "/v1/models/a", "/v1/models/b/c", "/responses", "/x", "/y"):
        metrics.begun()
        metrics.ended(path=path, method="GET", status=200, seconds=0.02)
    metrics.begun()
    metrics.ended(path="/health", method="BREW", status=405, seconds=0.02)
    value = registry.get_sample_value
    name = "driftline_device_api_requests_total"
    for route, method, status, count in (
        ("/health", "GET", "200", 1),
        ("/health", "other", "405", 1),
        ("/v1/models/{name}", "GET", "200", 2),
        ("/v1/responses", "GET", "200", 1),
        ("other", "GET", "200", 2),
    ):
        assert value(name, {"route": route, "method": method, "status": status}) == count
    seconds = "driftline_device_api_request_seconds"
    assert value(f"{seconds}_bucket", {"route": "/health", "le": "0.025"}) == 2
    assert value("driftline_device_api_requests_under_way") == 0
