"""Whether spans are made, and where they go."""

from __future__ import annotations

from driftline_shared.program.section import Section, setting


class SpanSettings(Section):
    """Spans for OpenTelemetry; the standard OTEL_* variables say the rest."""

    enabled: bool = setting(
        False, "make spans of a sample's way and send them to a collector (extra `traces`)"
    )
    endpoint: str = setting(
        "",
        "of the collector, OTLP over gRPC, such as http://127.0.0.1:4317; empty: "
        "OTEL_EXPORTER_OTLP_ENDPOINT, else that",
    )
