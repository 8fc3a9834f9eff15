"""The formats that are fuzzed, by name."""

from __future__ import annotations

from functools import cache

from driftline_lab.bench.fuzz.formats.target import Target


@cache
def targets() -> dict[str, Target]:
    """By name. Packages are loaded here, so that a fuzzer may first have them instrumented."""
    from driftline_lab.bench.fuzz.formats.on_disk import on_disk
    from driftline_lab.bench.fuzz.formats.on_the_wire import on_the_wire
    from driftline_lab.bench.fuzz.formats.requests import requests

    return {**on_the_wire(), **on_disk(), **requests()}


NAMES = (
    "manifest", "update", "packed", "steps", "tokens", "sample", "regions", "policy", "enrolment",
    "report", "acks", "adapter", "state", "jsonl", "device-settings", "cloud-settings",
    "stored-manifest", "p-ik-head", "chat", "responses", "invitation", "chain",
    "certificate-request",
)  # fmt: skip
"""Of all targets, known without loading anything."""
