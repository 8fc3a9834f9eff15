"""The drifts, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from driftline_lab.drift.base import Drift
from driftline_lab.drift.fog import fog
from driftline_lab.drift.inverted import inverted
from driftline_lab.drift.night import night
from driftline_lab.drift.reworded import reword
from driftline_lab.drift.sketch import sketch
from driftline_lab.drift.texture import texture

DRIFTS: Mapping[str, Drift] = MappingProxyType(
    {
        drift.name: drift
        for drift in (
            Drift(name="night", summary="little light, colour cast, noise", picture=night),
            Drift(name="fog", summary="haze and blur", picture=fog),
            Drift(name="texture", summary="busy ground and distractors", picture=texture),
            Drift(name="sketch", summary="outlines and hatching on ruled paper", picture=sketch),
            Drift(name="inverted", summary="a film negative", picture=inverted),
            Drift(name="reworded", summary="the same questions in other words", question=reword),
        )
    }
)
