"""How strict the device is with updates."""

from __future__ import annotations

from driftline_device.updates.admission import SizeLimits
from driftline_device.updates.probe import ProbeLimits
from driftline_device.updates.watch import WatchLimits
from driftline_shared.program.section import Section, setting


class UpdateSettings(Section):
    """Bounds of an update's size, of its self-check, and of the watch after it."""

    sizes: SizeLimits = setting(SizeLimits(), "bounds of an update", live=True)
    probe: ProbeLimits = setting(ProbeLimits(), "the self-check of a new version", live=True)
    watch: WatchLimits = setting(WatchLimits(), "the watch after an update", live=True)
