"""Whether spans are made, and where they go."""

from __future__ import annotations

from pydantic import field_validator

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

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, value: str) -> str:
        if "@" in value or "?" in value:
            raise ValueError(
                "holds no credentials: they are for the environment (OTEL_EXPORTER_OTLP_HEADERS)"
            )
        return value
