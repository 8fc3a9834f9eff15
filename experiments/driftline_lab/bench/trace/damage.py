"""A bit flipped anywhere in a part: is it refused by the part's name and row?"""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

from driftline_shared.errors import DriftlineError
from driftline_shared.trace.reader import open_trace

_SAID = (
    ("row", re.compile(r": row \d+.* differs from its crc32")),
    ("rows of a row group", re.compile(r"rows \d+ to \d+ do not decode")),
    ("rows of the part, its footer is broken", re.compile(r"footer")),
    ("rows of the part, they are whole", re.compile(r"are whole")),
    ("rows missing", re.compile(r"are missing")),
)


def flip_bits(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Flip one bit at `count` random places of the trace's parts, one after the other.

    How each was refused. DriftlineError if one was not, or not by the part's name.
    """
    rng, said = random.Random(seed), Counter[str]()
    trace = open_trace(folder)
    parts = trace.manifest.parts
    for _ in range(count):
        part = rng.choices(parts, weights=[part.bytes for part in parts])[0]
        path = trace.path(part)
        whole = path.read_bytes()
        place, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            for _event in trace.events_of(part):
                pass
        except DriftlineError as error:
            sentence = str(error)
        else:
            raise DriftlineError(f"{part.name}: bit {bit} of byte {place} was not noticed")
        finally:
            path.write_bytes(whole)
        kind = next((name for name, found in _SAID if found.search(sentence)), "")
        if not kind or not sentence.startswith(part.name):
            raise DriftlineError(
                f"byte {place} of {part.name} was refused without a row: {sentence}"
            )
        said[kind] += 1
    return {"num_flipped": count, "num_refused": said.total(), "named_by": dict(said)}
