"""Settings of a device's trace."""

from __future__ import annotations

from pydantic import model_validator

from driftline_shared.program.section import setting
from driftline_shared.trace.settings import TraceSettings
from driftline_shared.trace.tokens import AllTokens


class DeviceTraceSettings(TraceSettings):
    """What a device records; nothing of it leaves the device by itself."""

    all_tokens: AllTokens = setting(
        "",
        "also record all tokens of each answer: `int8` or `fp16`; a replay may then choose "
        "samples and tokens anew",
    )
    pictures: float = setting(
        0.0, "share of the sampled answers whose picture is recorded, small", ge=0, le=1
    )
    pictures_may_be_kept: bool = setting(
        False, "the owner lets pictures be recorded on this device; default: no"
    )

    @model_validator(mode="after")
    def _permitted(self) -> DeviceTraceSettings:
        if self.pictures and not self.pictures_may_be_kept:
            raise ValueError(
                "pictures are recorded only where pictures_may_be_kept = true: the owner's word"
            )
        return self
