"""What is compared: a scorer, alone or with a part drawn evenly or a number by mass."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from driftline_device.sampling.choice import TokenChoice
from driftline_device.sampling.scorers import check_scorer
from driftline_shared.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """`text`: as it was asked for; `choice`: at share 1."""

    text: str
    scorer: str
    choice: TokenChoice

    def at(self, share: float) -> TokenChoice:
        """The choice at a share of the tokens, of which a floor is given, too."""
        return replace(self.choice, share=share)


def arm(text: str) -> Arm:
    """SCORER, or SCORER+spread=0.5, SCORER+mass=0.4+floor=0.05. Raises ConfigError."""
    scorer, *parts = text.strip().split("+")
    check_scorer(scorer)
    numbers: dict[str, float] = {}
    for part in parts:
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in ("spread", "mass", "floor") or not 0.0 <= number <= 1.0:
            raise ConfigError(
                f"{part!r} in {text!r} is not spread=, mass= or floor= with a number in 0..1"
            )
        numbers[name] = number
    return Arm(text=text.strip(), scorer=scorer, choice=TokenChoice(share=1.0, **numbers))
