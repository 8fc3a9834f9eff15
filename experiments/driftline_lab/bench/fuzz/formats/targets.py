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
    from driftline_lab.bench.fuzz.formats.signatures import signatures

    return {**on_the_wire(), **on_disk(), **requests(), **signatures()}


NAMES = (
    "manifest", "update", "packed", "steps", "tokens", "sample", "regions", "policy", "enrolment",
    "report", "acks", "adapter", "state", "jsonl", "device-settings", "cloud-settings",
    "stored-manifest", "p-ik-head", "chat", "responses", "invitation", "chain",
    "certificate-request", "signed-bundle", "signed-role", "update-root", "pair-signature",
    "pair-statement",
)  # fmt: skip
"""Of all targets, known without loading anything."""
