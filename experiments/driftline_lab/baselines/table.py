"""Which baselines there are: one explicit table, the product first."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.downlink.exact_sparse import EXACT_SPARSE
from driftline_lab.baselines.downlink.full_fp16 import FULL_FP16
from driftline_lab.baselines.in_cloud.cema import CEMA
from driftline_lab.baselines.in_cloud.feature_kd import FEATURE_KD
from driftline_lab.baselines.in_cloud.logit_kd import LOGIT_KD
from driftline_lab.baselines.in_cloud.on_policy import ON_POLICY
from driftline_lab.baselines.in_cloud.pseudo_label import PSEUDO_LABEL
from driftline_lab.baselines.on_device.cotta import COTTA
from driftline_lab.baselines.on_device.source_only import SOURCE_ONLY
from driftline_lab.baselines.on_device.tent import TENT
from driftline_lab.baselines.reference import REFERENCE
from driftline_lab.baselines.uplink.full_upload import FULL_UPLOAD
from driftline_lab.baselines.uplink.magnitude_tokens import MAGNITUDE_TOKENS
from driftline_lab.baselines.uplink.random_samples import RANDOM_SAMPLES
from driftline_lab.baselines.uplink.random_tokens import RANDOM_TOKENS
from driftline_shared.errors import ConfigError

BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        each.name: each
        for each in (
            REFERENCE,
            SOURCE_ONLY,
            TENT,
            COTTA,
            PSEUDO_LABEL,
            LOGIT_KD,
            FEATURE_KD,
            ON_POLICY,
            CEMA,
            FULL_UPLOAD,
            RANDOM_SAMPLES,
            RANDOM_TOKENS,
            MAGNITUDE_TOKENS,
            FULL_FP16,
            EXACT_SPARSE,
        )
    }
)


def baseline_named(name: str) -> Baseline:
    """The baseline of that name. Raises ConfigError for an unknown one."""
    if name not in BASELINES:
        raise ConfigError(f"baseline {name!r} is not known; there are {', '.join(BASELINES)}")
    return BASELINES[name]


def of_kind(kind: Kind) -> list[Baseline]:
    """The baselines that replace one part."""
    return [each for each in BASELINES.values() if each.kind is kind]
