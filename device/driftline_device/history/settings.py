"""What is kept of past answers, and for how long."""

from __future__ import annotations

from driftline_shared.program.section import Section, setting


class HistorySettings(Section):
    """Past answers, their pictures, and the answers that the owner marked."""

    max_answers: int = setting(
        10_000, "past answers kept, the newest; 0: none", ge=0, le=10_000_000
    )
    pictures: bool = setting(False, "keep small pictures of past answers on disk, too")
    max_picture_bytes: int = setting(
        64 << 20, "of pictures on disk, marked ones apart; the oldest go first", ge=0
    )
    recent_bytes: int = setting(
        16 << 20, "of pictures held in memory, so that an answer marked soon keeps its own", ge=0
    )
    max_marks: int = setting(500, "marked answers kept; the oldest go first", ge=1, le=100_000)
    max_checked: int = setting(64, "marked answers that a new version is held to", ge=0, le=10_000)
