"""The sampling policy as a section of a program's settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from driftline_shared.bounds import check_policy
from driftline_shared.errors import DriftlineError
from driftline_shared.tokens import SamplingPolicy


def _known(value: object) -> object:
    known = sorted(field.name for field in dataclasses.fields(SamplingPolicy))
    unknown = sorted(value.keys() - set(known)) if isinstance(value, Mapping) else []
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(known)}")
    return value


def _sound(value: SamplingPolicy) -> SamplingPolicy:
    try:
        check_policy(value)
    except DriftlineError as error:
        raise ValueError(str(error)) from error
    return value


Policy = Annotated[SamplingPolicy, BeforeValidator(_known), AfterValidator(_sound)]
"""A policy without unknown keys that `bounds.check_policy` takes."""
