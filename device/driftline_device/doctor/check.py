"""What one check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]
"""`fail`: something the device is asked to do does not work, or soon will not; `warn`: something
to look at.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """`found`: the fact, for people. `fix`: what to do; empty where nothing is to be done."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name=name, verdict="ok", found=found)


def warn(name: str, found: str, fix: str) -> Check:
    """Something to look at."""
    return Check(name=name, verdict="warn", found=found, fix=fix)


def fail(name: str, found: str, fix: str) -> Check:
    """It does not work like that."""
    return Check(name=name, verdict="fail", found=found, fix=fix)
