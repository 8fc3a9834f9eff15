"""Spans handed to OpenTelemetry when what they tell of is over; its packages are imported here,
where spans are on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from driftline_shared.program.extras import needs_extra
from driftline_shared.spans.context import SpanContext
from driftline_shared.spans.settings import SpanSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

MOST_LINKS = 1_024
"""Of one span: OpenTelemetry's own bound of 128 is less than a round has samples."""

CLOSE_S = 3.0
"""For the last spans, when a program ends and the collector may be away."""

EXPORT_S = 3.0

_log = structlog.get_logger(__name__)

Attribute = str | bool | int | float


class Spans:
    """Makes spans for any thread; what goes wrong in a collector costs spans alone."""

    def __init__(self, processor: SpanProcessor, service: str) -> None:
        from opentelemetry import context, trace
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider

        self._api = trace
        self._root = context.Context()
        self._ids = _ids()
        self._lock = threading.Lock()
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: service}
        self._provider = TracerProvider(
            resource=Resource.create(named),
            id_generator=self._ids,
            span_limits=SpanLimits(max_links=MOST_LINKS),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("driftline")

    def add(
        self,
        name: str,
        start_s: float,
        end_s: float,
        *,
        own: SpanContext | None = None,
        parent: SpanContext | None = None,
        links: Sequence[SpanContext] = (),
        error: str = "",
        **attributes: Attribute,
    ) -> None:
        """One span from `start_s` to `end_s` (Unix time). `own`: what it is; None: any new one.
        `parent` None: a root. `error`: why it failed. Attributes are prefixed with `driftline.`.
        Raises nothing.
        """
        try:
            self._add(name, start_s, end_s, own, parent, links, error, attributes)
        except Exception:
            _log.exception("span.not_made", name=name)

    def _add(
        self,
        name: str,
        start_s: float,
        end_s: float,
        own: SpanContext | None,
        parent: SpanContext | None,
        links: Sequence[SpanContext],
        error: str,
        attributes: Mapping[str, Attribute],
    ) -> None:
        api = self._api
        context = self._root
        if parent is not None:
            context = api.set_span_in_context(api.NonRecordingSpan(self._remote(parent)))
        with self._lock:
            self._ids.own = own
            try:
                span = self._tracer.start_span(
                    name,
                    context=context,
                    attributes={f"driftline.{key}": one for key, one in attributes.items()},
                    links=[api.Link(self._remote(one)) for one in links],
                    start_time=_nanoseconds(start_s),
                )
            finally:
                self._ids.own = None
        if error:
            span.set_status(api.StatusCode.ERROR, error)
        span.end(end_time=_nanoseconds(max(start_s, end_s)))

    def close(self) -> None:
        """Send what is left, for a while."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    def _remote(self, one: SpanContext) -> Any:
        api = self._api
        return api.SpanContext(
            one.trace_id, one.span_id, is_remote=True, trace_flags=api.TraceFlags(1)
        )


def open_spans(settings: SpanSettings, service: str) -> Spans | None:
    """The spans that `settings` ask for, of the program `service`; None where they ask for none.

    Raises MissingPackageError.
    """
    if not settings.enabled:
        return None
    with needs_extra("spans.enabled", "traces"):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(endpoint=settings.endpoint or None, timeout=EXPORT_S)
        spans = Spans(BatchSpanProcessor(exporter), service)
    _log.info("spans.on", service=service, endpoint=settings.endpoint or "as in the environment")
    return spans


def _ids() -> Any:
    """A source of ids that gives out one that is known beforehand."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        own: SpanContext | None = None

        def generate_trace_id(self) -> int:
            return super().generate_trace_id() if self.own is None else self.own.trace_id

        def generate_span_id(self) -> int:
            return super().generate_span_id() if self.own is None else self.own.span_id

    return Ids()


def _nanoseconds(unix_s: float) -> int:
    return int(unix_s * 1e9)
