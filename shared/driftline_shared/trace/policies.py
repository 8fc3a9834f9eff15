"""The digest by which events name a sampling policy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache

from driftline_shared.tokens import SamplingPolicy


@lru_cache(maxsize=16)
def policy_digest(policy: SamplingPolicy) -> str:
    """Hex sha256 of `policy` as canonical JSON; its revision is left out."""
    values = asdict(policy)
    del values["revision"]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
