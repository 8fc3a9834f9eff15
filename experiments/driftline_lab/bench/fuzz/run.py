"""Mutated pictures as files and as requests: whatever is no refusal is an escape."""

from __future__ import annotations

import base64
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from driftline_device.api.chat.question import read_question
from driftline_device.api.errors import ApiError
from driftline_device.api.settings import ApiConfig
from driftline_lab.bench.fuzz.mutations import mutated
from driftline_lab.bench.fuzz.samples import good_pictures
from driftline_shared.errors import DataError
from driftline_shared.pictures import decode_image, read_image

MAX_PIXELS = 200_000
"""Of one picture: a header that claims more is refused at once, as on a device."""

LARGE_PIXELS = 6_000_000
"""The same of one in 500: what is decoded smaller takes a hundred times as long."""

_PAIR = "fake"
_CONFIG = ApiConfig()


@dataclass(slots=True)
class _Way:
    """What came of the pictures that went one way."""

    num_read: int = 0
    num_refused: int = 0
    escapes: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0

    def document(self) -> dict[str, Any]:
        return {
            "num_read": self.num_read,
            "num_refused": self.num_refused,
            "num_escapes": self.escapes.total(),
            "escapes": dict(self.escapes.most_common()),
            "slowest_ms": round(self.slowest_ms, 1),
        }


def run_fuzz(num: int, seed: int, keep: Path | None = None) -> dict[str, Any]:
    """`num` mutated pictures, each as a file and as a request. `keep`: folder for what escapes.

    An escape is an exception that is neither DataError nor a 400; what was written to standard
    error meanwhile is counted, too.
    """
    dice = random.Random(seed)
    good = good_pictures()
    names, others = list(good), list(good.values())
    read = [name for name, data in good.items() if _is_read(data)]
    ways = {"file": _Way(), "api": _Way()}
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, _standard_error() as written:
        file = Path(folder) / "picture.png"
        file.touch()
        tries: dict[str, Callable[[bytes, int], object]] = {
            "file": lambda data, max_pixels: _as_file(file, data, max_pixels),
            "api": _as_request,
        }
        for _ in track(range(num), description="mutated pictures", console=Console(stderr=True)):
            name = dice.choice(read if dice.random() < 0.8 else names)
            max_pixels = LARGE_PIXELS if dice.random() < 0.002 else MAX_PIXELS
            data = mutated(good[name], others, dice)
            for way, result in ways.items():
                error = _tried(result, partial(tries[way], data, max_pixels))
                if error is not None:
                    result.escapes[f"{name.split()[0]} {type(error).__name__}: {error}"[:200]] += 1
                    _keep(keep, data, f"{way}_{type(error).__name__}")
        num_written, warned = written()
    return {
        "num": num,
        "seed": seed,
        "num_kinds": len(good),
        "num_kinds_read": len(read),
        "num_escapes": sum(each.escapes.total() for each in ways.values()),
        "stderr_bytes": num_written,
        "warnings": warned,
        "seconds": round(time.monotonic() - began_s, 1),
        **{way: result.document() for way, result in ways.items()},
    }


def _tried(result: _Way, way: Callable[[], object]) -> BaseException | None:
    """What escaped, if anything."""
    began_s = time.perf_counter()
    try:
        way()
        result.num_read += 1
    except DataError:
        result.num_refused += 1
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return error
    finally:
        result.slowest_ms = max(result.slowest_ms, 1e3 * (time.perf_counter() - began_s))
    return None


def _is_read(data: bytes) -> bool:
    try:
        decode_image(data, name="it", place="here")
    except DataError:
        return False
    return True


def _as_file(path: Path, data: bytes, max_pixels: int) -> None:
    with path.open("r+b") as file:  # quicker than to make it anew
        file.truncate(len(data))
        file.write(data)
    read_image(path, place="fuzz", max_pixels=max_pixels)


def _as_request(data: bytes, max_pixels: int) -> None:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    body = json.dumps({"model": _PAIR, "messages": [{"role": "user", "content": content}]})
    try:
        read_question(body.encode(), pair=_PAIR, config=_CONFIG, max_pixels=max_pixels)
    except ApiError as error:
        if error.status != 400:
            raise
        raise DataError(str(error)) from None


def _keep(folder: Path | None, data: bytes, name: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}_{abs(hash(data)) & 0xFFFFFFFF:08x}.bin").write_bytes(data)


@contextmanager
def _standard_error() -> Iterator[Callable[[], tuple[int, list[str]]]]:
    """How many bytes libraries write to the descriptor 2 meanwhile, and Python's warnings; what
    Python itself says goes where it went.
    """
    sys.stderr.flush()
    before = os.dup(2)
    python = sys.stderr
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(2), "w", encoding="utf-8") as still:
        os.dup2(file.fileno(), 2)
        sys.stderr = still
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                yield lambda: (os.fstat(file.fileno()).st_size, [str(w.message) for w in warned])
        finally:
            sys.stderr = python
            os.dup2(before, 2)
            os.close(before)
