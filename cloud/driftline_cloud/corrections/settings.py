"""How much the teacher answers between rounds, for devices that ask when they are unsure."""

from __future__ import annotations

from driftline_shared.program.section import Section, setting


class EscalationSettings(Section):
    """Of samples that want the teacher's answer. Times in seconds."""

    max_waiting: int = setting(
        256, "samples that wait for the teacher's answer, in all; 0: none is answered", ge=0
    )
    max_waiting_per_device: int = setting(32, "of one device", ge=1)
    max_age_s: float = setting(900.0, "what waited longer gets no answer any more", gt=0)
    keep_s: float = setting(
        7 * 86_400.0, "how long an answer waits for its device to come back", gt=0
    )
    batch: int = setting(8, "samples answered at once", ge=1, le=256)
    poll_s: float = setting(0.1, "how often it is looked for samples and answers", gt=0)
    unload_s: float = setting(
        600.0, "after so long without a question the answering teacher is let go", gt=0
    )
