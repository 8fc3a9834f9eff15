"""Inspections and reports as text for people and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from driftline_shared.models.check.checks import Report
from driftline_shared.models.check.findings import size
from driftline_shared.models.check.inspection import Inspection
from driftline_shared.models.check.memory import PRECISIONS, Plan, weight_bytes


def inspection_lines(found: Inspection) -> Iterator[str]:
    """A checkpoint for people."""
    language, adapter, grid = found.language, found.adapter, found.grid
    yield f"family      {found.family}"
    yield f"tower       {found.tower}: {_count(found.parameters['tower'])} parameters"
    yield (
        f"projector   {_count(found.parameters['projector'])} parameters, reads "
        f"{found.token_width} channels a token"
    )
    yield (
        f"language    {found.language_model}: {_count(found.parameters['language'])} parameters, "
        f"{language.num_layers} layers, width {language.width}"
    )
    yield (
        f"vocabulary  {language.num_tokens} tokens, padded to {language.rows} rows"
        if language.rows != language.num_tokens
        else f"vocabulary  {language.num_tokens} tokens"
    )
    yield "stored      " + ", ".join(f"{_count(n)} in {t}" for t, n in sorted(found.stored.items()))
    yield (
        f"grid        {grid.frames} x {grid.rows} x {grid.cols} = {grid.num_tokens} tokens an image"
        if grid is not None
        else "grid        unknown without torch: pip install 'driftline[device-torch]'"
    )
    yield (
        f"adapter     {len(adapter.modules)} linear layers and {adapter.num_norms} norms, "
        f"{_count(adapter.num_parameters)} parameters at rank 16"
    )
    memory = ", ".join(f"{p} {size(weight_bytes(found, p))}" for p in PRECISIONS)
    yield f"weights     {memory} in memory"
    yield (
        "prompt      the checkpoint has a chat template: write it out in pair.toml"
        if found.chat_template
        else "prompt      no chat template in the checkpoint: see its model card"
    )


def inspection_dict(found: Inspection) -> dict[str, Any]:
    """A checkpoint for programs."""
    return asdict(found) | {
        "dir": str(found.dir),
        "num_parameters": found.num_parameters,
        "weight_bytes": {p: weight_bytes(found, p) for p in PRECISIONS},
    }


def report_lines(report: Report) -> Iterator[str]:
    """A report for people: errors first."""
    for level in ("error", "warning", "note"):
        for finding in report.findings:
            if finding.level == level:
                yield f"{level}: {finding.what}"
                if finding.fix:
                    yield f"  fix: {finding.fix}"
    if report.device:
        yield from _table("device memory", report.device)
        yield from _table("cloud memory (teacher at)", report.cloud)
    if report.sample is not None:
        sample = report.sample
        yield (
            f"a sample: {sample.kept} of {sample.num_tokens} tokens, at most "
            f"{size(sample.payload)} + {sample.envelope} B envelope; zstd makes it less, mostly"
        )
    if report.update is not None:
        update = report.update
        yield (
            f"an update: about {size(update.expected)} with {update.share * 100:.3g} % of the "
            f"weights, {size(update.most)} at most ({size(update.adapter_fp16)} as an fp16 adapter)"
        )
    yield f"{report.name}: {'does not fit together yet' if report.has_errors else 'whole'}"


def report_dict(report: Report) -> dict[str, Any]:
    """A report for programs."""
    return {
        "pair": report.name,
        "whole": not report.has_errors,
        "findings": [asdict(finding) for finding in report.findings],
        "student": inspection_dict(report.student) if report.student is not None else None,
        "teacher": inspection_dict(report.teacher) if report.teacher is not None else None,
        "device_bytes": report.device,
        "cloud_bytes": report.cloud,
        "sample_bytes": asdict(report.sample) if report.sample is not None else None,
        "update_bytes": asdict(report.update) if report.update is not None else None,
    }


def _table(title: str, plans: dict[str, Plan]) -> Iterator[str]:
    yield f"{title}: " + ", ".join(f"{p} {size(sum(plan.values()))}" for p, plan in plans.items())


def _count(number: int) -> str:
    """A count for people: 7.1 B, 62.3 M, 8.2 k."""
    for unit, factor in ((" B", 10**9), (" M", 10**6), (" k", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f}{unit}"
    return str(number)
