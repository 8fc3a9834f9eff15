"""What a run is about: the stream's questions and every domain's test set, with tower tokens.

A world writes its stream as it does for a demo; each picture goes through the tower once and its
tokens are kept by the digest of its pixels. Pictures are encoded one by one, so that tokens do not
depend on which pictures were asked for beside them.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Question
from driftline_device.sources.dataset import DatasetSource
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.streams import Segment
from driftline_lab.experiments.plan import Plan
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.errors import DataError
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import Pair

_CHUNK = 128
"""Pictures whose tokens are looked up and kept at once."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One question with its true answer and the (V, D) float32 tower tokens of its picture."""

    question: str
    truth: str
    domain: str
    values: Floats


@dataclass(frozen=True, kw_only=True)
class Material:
    """`segments`: the stream. `tests`: by domain, the source among them. `digest`: of all of it."""

    segments: Sequence[Sequence[Asked]]
    tests: Mapping[str, Sequence[Asked]]
    digest: str

    @property
    def num_questions(self) -> int:
        return sum(len(segment) for segment in self.segments)


def prepare(
    plan: Plan, pair: Pair, model: MultimodalModel, store: ResultStore, progress: Progress = ignore
) -> Material:
    """The material of `plan`. Raises ConfigError for unknown names, DataError for a world that has
    fewer questions than are asked for.
    """
    world = plan.data
    names = world.domains_of(",".join(plan.segments) or None)
    parts = [Segment(domain=name, num_questions=plan.questions) for name in names]
    with tempfile.TemporaryDirectory(prefix="driftline-stream-") as place:
        folder = Path(place)
        world.write(folder, parts, seed=plan.seed, num_test=plan.tests)
        tokens = _Tokens(pair, model, store)
        stream = list(DatasetSource(folder / "stream.jsonl"))
        found = tokens.of(stream, progress)
        tests = {SOURCE: tokens.of(list(DatasetSource(folder / "source_test.jsonl")), ignore)}
        for row in tokens.of(_rows(folder / "test.jsonl"), ignore):
            tests.setdefault(row.domain, []).append(row)
    return assemble(_cut(found, plan.questions, names), tests)


def assemble(segments: Sequence[Sequence[Asked]], tests: Mapping[str, Sequence[Asked]]) -> Material:
    """Material of these questions."""
    digest = hashlib.sha256()
    for name, rows in [*((str(n), s) for n, s in enumerate(segments)), *sorted(tests.items())]:
        digest.update(f"{name}\0{len(rows)}\0".encode())
        for row in rows:
            digest.update(f"{row.question}\0{row.truth}\0{row.domain}\0".encode())
            digest.update(np.ascontiguousarray(row.values, "<f4").tobytes())
    return Material(segments=segments, tests=tests, digest=digest.hexdigest())


def _cut(rows: Sequence[Asked], length: int, names: Sequence[str]) -> list[list[Asked]]:
    """The stream by segment: rows come in order, and two segments may share a domain."""
    segments, left = [], list(rows)
    for name in names:
        mine = left[:length]
        if len(mine) < length or any(row.domain != name for row in mine):
            num = sum(row.domain == name for row in mine)
            raise DataError(
                f"segment {name} has {num} questions, {length} are wanted: "
                "ask for fewer questions, or fewer segments"
            )
        segments.append(mine)
        left = left[length:]
    return segments


def _rows(path: Path) -> list[Question]:
    return list(DatasetSource(path)) if path.is_file() and path.stat().st_size else []


class _Tokens:
    """Tower tokens by the digest of the pixels."""

    def __init__(self, pair: Pair, model: MultimodalModel, store: ResultStore) -> None:
        self._space = pair.token_space
        self._model = model
        self._store = store
        self._known: dict[bytes, Floats] = {}

    def of(self, rows: Sequence[Question], progress: Progress) -> list[Asked]:
        """`rows` with their tokens, in order."""
        keys = [self._key(row.image) for row in rows]
        images = dict(zip(keys, (row.image for row in rows), strict=True))
        missing = [key for key in images if key not in self._known]
        for start in range(0, len(missing), _CHUNK):
            self._look_up(missing[start : start + _CHUNK], images.__getitem__)
            progress(min(1.0, (start + _CHUNK) / len(missing)))
        return [
            Asked(
                question=row.text,
                truth=row.truth or "",
                domain=row.domain or SOURCE,
                values=self._known[key],
            )
            for row, key in zip(rows, keys, strict=True)
        ]

    def _look_up(self, keys: list[bytes], image: Callable[[bytes], NDArray[np.uint8]]) -> None:
        shape = (self._space.grid.num_tokens, self._space.width)
        for key, body in self._store.get(keys).items():
            if len(body) == 4 * shape[0] * shape[1]:
                self._known[key] = np.frombuffer(body, "<f4").reshape(shape).astype(np.float32)
        made = {}
        with torch.inference_mode():
            for key in keys:
                if key not in self._known:
                    values = self._model.encode([image(key)])[0].float().cpu().numpy()
                    self._known[key] = values
                    made[key] = np.ascontiguousarray(values, "<f4").tobytes()
        if made:
            self._store.put(made)

    def _key(self, image: NDArray[np.uint8]) -> bytes:
        digest = hashlib.sha256(f"tokens\0{self._space.digest}\0{image.shape}\0".encode())
        digest.update(np.ascontiguousarray(image).tobytes())
        return digest.digest()
