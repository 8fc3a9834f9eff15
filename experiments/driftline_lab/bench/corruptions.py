"""Teacher and student of `tiny` on drift that neither was trained for: ImageNet-C's families.

Accuracies are exact matches of greedy answers to all questions of some test pictures, all visual
tokens read, weights as shipped, computed in fp32. A picture's questions are right or wrong
together, so the standard error is that of a ratio of sums over pictures, not over questions
(Cochran, "Sampling Techniques", 3rd ed., 1977, section 6.4); the gap's is paired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from safetensors.numpy import load_file, save_file
from transformers import LlavaForConditionalGeneration, SiglipVisionModel

from driftline_lab.data.corrupted import ALL_DOMAINS
from driftline_lab.data.domains import DOMAINS
from driftline_lab.data.easyvqa import Part, image_ids
from driftline_lab.drift.corruptions import (
    COMMON,
    DEVELOPMENT,
    FAMILIES,
    SEVERITIES,
    corruption_name,
)
from driftline_lab.recipes.packing import Segment
from driftline_lab.recipes.tiny.evaluation import answered
from driftline_lab.recipes.tiny.language import load_checkpoint
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.token_cache import encode_pictures
from driftline_lab.recipes.tiny.tokenizer import load_tokenizer
from driftline_lab.recipes.tiny.tower import UNKNOWN
from driftline_lab.recipes.tiny.training import View
from driftline_shared.errors import ConfigError

WANTED_GAP = 0.10
"""How far a teacher should be ahead for its student to learn from it."""

ROLES = ("student", "teacher")
_Z95 = 1.96
_Counts = NDArray[np.int64]


def run_corruptions(
    num_pictures: int,
    *,
    severities: Sequence[int] = SEVERITIES,
    families: Sequence[str] = FAMILIES,
    known: bool = True,
    work: Path | None = None,
) -> dict[str, Any]:
    """A row of each family and severity, and of the domains that the teacher has seen (`known`):
    accuracies and their gap with half-widths of 95 % intervals; and how many gaps are wide.

    `work`: a folder that keeps what is measured, so that a run that was stopped goes on.

    Raises ConfigError for a severity that has no domains.
    """
    if not set(severities) <= set(SEVERITIES):
        there = ", ".join(map(str, SEVERITIES))
        raise ConfigError(f"severities: {list(severities)}; there are {there}")
    wanted: list[tuple[str, str | None, int | None]] = []
    wanted += [(name, None, None) for name in DOMAINS] if known else []
    wanted += [(corruption_name(f, s), f, s) for s in severities for f in families]
    subject = read_subject(num_pictures, work)
    rows: list[dict[str, Any]] = []
    num_questions = 0
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=len(wanted))
        for name, family, severity in wanted:
            student, asked = subject.answered("student", name)
            teacher, _ = subject.answered("teacher", name)
            num_questions = int(asked.sum())
            rows.append(
                {
                    "domain": name,
                    "family": family,
                    "severity": severity,
                    "student": interval(student, asked),
                    "teacher": interval(teacher, asked),
                    "gap": interval(teacher - student, asked),
                }
            )
            bar.advance(task)
    return {
        "pair": "tiny",
        "part": "test",
        "num_pictures": num_pictures,
        "num_questions": num_questions,
        "development": list(DEVELOPMENT),
        "rows": rows,
        "by_severity": {str(severity): _count(rows, severity) for severity in severities},
    }


def interval(right: _Counts, asked: _Counts) -> dict[str, float]:
    """`share` of `asked` (N,) that `right` (N,) is, and `error`, the half-width of its 95 %
    interval, pictures being drawn and not questions; `right` may be a difference.
    """
    total = max(1, int(asked.sum()))
    share = float(right.sum()) / total
    spread = float(np.square(right - share * asked).sum())
    count = len(asked)
    error = _Z95 * float(np.sqrt(spread * count / max(1, count - 1))) / total
    return {"share": share, "error": error}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The pair's two models by role, with the digests of their weights, on some test pictures."""

    models: dict[str, LlavaForConditionalGeneration]
    digests: dict[str, str]
    encoder: Encoder
    image_ids: tuple[int, ...]
    work: Path | None

    def answered(self, role: str, name: str) -> tuple[_Counts, _Counts]:
        """Of each picture, (N,): questions answered right by a model in a domain, and asked."""
        kept = self._kept(f"{name}-{role}-{self.digests[role]}")
        if kept is not None and kept.exists():
            stored = load_file(kept)
            return stored["right"], stored["asked"]
        tokenizer = self.encoder.tokenizer
        right, asked = answered(
            self.models[role],
            self._views(name),
            start_id=int(tokenizer.bos_token_id),
            pad_id=int(tokenizer.pad_token_id),
        )
        if kept is not None:
            _keep(kept, {"right": right, "asked": asked})
        return right, asked

    def _views(self, name: str) -> list[View]:
        tokens = self._tokens(name)
        return [
            View(
                tokens=tokens,
                row=row,
                segments=self._segments(name, image_id),
                # Facts are for training.
                shape=UNKNOWN,
                colour=UNKNOWN,
            )
            for row, image_id in enumerate(self.image_ids)
        ]

    def _segments(self, name: str, image_id: int) -> tuple[Segment, ...]:
        rows = ALL_DOMAINS[name].questions(image_id)
        return tuple(self.encoder.segment(row.question, row.answer) for row in rows)

    def _tokens(self, name: str) -> NDArray[np.float16]:
        kept = self._kept(f"{name}-tokens")
        if kept is not None and kept.exists():
            return load_file(kept)["tokens"]
        domain = ALL_DOMAINS[name]
        tower: SiglipVisionModel = self.models["student"].model.vision_tower
        tokens = encode_pictures(tower, (domain.picture(i) for i in self.image_ids))
        if kept is not None:
            _keep(kept, {"tokens": tokens})
        return tokens

    def _kept(self, name: str) -> Path | None:
        if self.work is None:
            return None
        return self.work / f"{len(self.image_ids)}-{name}.safetensors"


def read_subject(num_pictures: int, work: Path | None) -> Subject:
    """The shipped pair `tiny` on the first test pictures."""
    with as_file(files("driftline_pairs") / "tiny") as folder:
        weights = {role: folder / role / "model.safetensors" for role in ROLES}
        return Subject(
            models={role: load_checkpoint(folder / role) for role in ROLES},
            digests={
                role: hashlib.sha256(file.read_bytes()).hexdigest()[:16]
                for role, file in weights.items()
            },
            encoder=Encoder(tokenizer=load_tokenizer(folder / "student")),
            image_ids=image_ids(Part.TEST)[:num_pictures],
            work=work,
        )


def _keep(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(arrays, part)
    part.replace(path)


def _count(rows: Sequence[dict[str, Any]], severity: int) -> dict[str, int]:
    """How many families have a wide gap, and how many leave no room for one."""
    found = [row for row in rows if row["severity"] == severity]
    judged = [row for row in found if row["family"] not in DEVELOPMENT]
    common = [row for row in found if row["family"] in COMMON]
    return {
        "families": len(found),
        "wide": _wide(found),
        "judged": len(judged),
        "judged_wide": _wide(judged),
        "common": len(common),
        "common_wide": _wide(common),
        "no_room": sum(row["student"]["share"] > 1.0 - WANTED_GAP for row in found),
    }


def _wide(rows: Sequence[dict[str, Any]]) -> int:
    return sum(row["gap"]["share"] >= WANTED_GAP for row in rows)
