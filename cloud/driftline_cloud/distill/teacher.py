"""The teacher labels samples from exactly what came up, and is watched doing it."""

from __future__ import annotations

import filecmp
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog
import torch
from torch import Tensor

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import Example, by_size, from_samples
from driftline_cloud.distill.matching import Matching
from driftline_cloud.distill.pictures import with_own_tokens
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.jobs import Label
from driftline_shared.callbacks import Progress, ignore, part_of
from driftline_shared.errors import DataError, Reason, SampleError
from driftline_shared.models.fit.translation import TRANSLATOR_FILE
from driftline_shared.models.multimodal import Generated, MultimodalModel
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import Sample

_log = structlog.get_logger(__name__)

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
"""What decides in which ids a student writes an answer, and how it ends one."""


def teacher_digest(pair: Pair) -> str:
    """Hex sha256 over everything a label depends on beside the sample: the label cache's key.

    A label's tokens are ids of the student's tokenizer: it counts where it is another file than
    the teacher's, and so do the translator and the way in which vocabularies are compared.
    """
    digest = hashlib.sha256(f"{pair.teacher.prompt}\0{pair.max_new_tokens}\0".encode())
    paths = [
        path
        for path in sorted(pair.teacher_dir.iterdir())
        if path.suffix in (".safetensors", ".json")
    ]
    if pair.spec.translator is not None:
        paths.append(pair.dir / TRANSLATOR_FILE)
    ours, theirs = (side / "tokenizer.json" for side in (pair.student_dir, pair.teacher_dir))
    vocabulary = pair.spec.distillation.vocabulary
    one = ours.is_file() and theirs.is_file() and filecmp.cmp(ours, theirs, shallow=False)
    if vocabulary is not None or not one:
        digest.update(f"{vocabulary}\0".encode())
        own = pair.student_dir.glob("*.json")
        paths += sorted(path for path in own if path.name in _TOKENIZER_FILES)
    for path in paths:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def label(
    model: MultimodalModel,
    pair: Pair,
    samples: Sequence[Sample],
    settings: DistilSettings,
    progress: Progress,
    *,
    own: MultimodalModel | None = None,
) -> list[Label]:
    """Greedy answers of the teacher, in the order of `samples`; of a sample that its owner marked
    what the owner says is right, where `settings` trust owners.

    `model` reads the device's tokens. `own`: the teacher reading its own tower's tokens, given
    where the pair does not share a tower: it answers the samples that carry regions.
    """
    examples = from_samples(samples, pair.token_space)
    pictured = _pictured(samples, own)
    others = sorted(set(range(len(samples))) - set(pictured))
    share = len(others) / max(len(samples), 1)
    with passes.fixed_threads(settings.threads):
        asked = [examples[number] for number in others]
        found = answer(model, pair, asked, settings, part_of(progress, 0.0, share))
        answers = dict(zip(others, found, strict=True))
        if own is not None:
            for start in range(0, len(pictured), settings.label_batch_size):
                some = pictured[start : start + settings.label_batch_size]
                asked = with_own_tokens(
                    own,
                    [samples[number] for number in some],
                    [examples[number] for number in some],
                    pair.token_space.grid,
                )
                found = answer(own, pair, asked, settings, ignore)
                answers |= dict(zip(some, found, strict=True))
                progress(len(answers) / len(samples))
    said = [answers[number] for number in range(len(samples))]
    if settings.trust_owners:
        owners = [_owners(model, pair, sample) for sample in samples]
    else:
        owners = [None] * len(samples)
    return [
        _label(sample, answered, owner)
        for sample, answered, owner in zip(samples, said, owners, strict=True)
    ]


def _label(sample: Sample, answered: TeacherAnswer, owner: TeacherAnswer | None) -> Label:
    said = owner or answered
    differs = owner is not None and owner.tokens != answered.tokens
    return Label(
        sample_id=sample.id,
        text=said.text,
        tokens=said.tokens,
        confidence=said.confidence,
        disputed=answered.confidence if differs else 0.0,
    )


def _check_questions(model: MultimodalModel, pair: Pair, examples: Sequence[Example]) -> None:
    """Raise SampleError for a question that the model, which has the last word, cannot read."""
    for question in dict.fromkeys(example.question for example in examples):
        try:
            model.check_question(question, pair.max_new_tokens)
        except DataError as error:
            raise SampleError(str(error), reason=Reason.SAMPLE_TEXT_INVALID) from error


def _owners(model: MultimodalModel, pair: Pair, sample: Sample) -> TeacherAnswer | None:
    """What the device's owner said is right, of which they are sure; None where they said nothing,
    or more than an answer may have.
    """
    if not sample.owner_answer:
        return None
    tokens = tuple(model.answer_ids(sample.owner_answer))
    if len(tokens) > pair.max_new_tokens:
        _log.warning(
            "labels.owner_too_long",
            sample=sample.id.hex(),
            num_tokens=len(tokens),
            most=pair.max_new_tokens,
            fix="The teacher's answer is used instead.",
        )
        return None
    return TeacherAnswer(text=sample.owner_answer, tokens=tokens, confidence=1.0)


def _pictured(samples: Sequence[Sample], own: MultimodalModel | None) -> list[int]:
    """Which samples are answered from their pictures; logs it, and regions nobody needs."""
    found = [number for number, sample in enumerate(samples) if sample.regions is not None]
    if found and own is None:
        _log.warning(
            "labels.regions_not_needed",
            num_samples=len(found),
            fix="This pair shares its tower: set sampling.images_may_leave = false.",
        )
        return []
    if found:
        _log.info(
            "labels.from_regions",
            num_samples=len(found),
            note="their labels come from pictures, all other terms from translated tokens",
        )
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherAnswer:
    """A greedy answer: text, token ids with the end token, geometric mean probability."""

    text: str
    tokens: tuple[int, ...]
    confidence: float


@torch.inference_mode()
def answer(
    model: MultimodalModel,
    pair: Pair,
    examples: Sequence[Example],
    settings: DistilSettings,
    progress: Progress,
) -> list[TeacherAnswer]:
    """Greedy answers to the questions of `examples`, in their order; SampleError for a question
    that `model` has no room for.
    """
    _check_questions(model, pair, examples)
    found: dict[int, TeacherAnswer] = {}
    for batch in by_size(examples, settings.label_batch_size):
        for some, generated in passes.in_memory(
            batch, lambda rows: _generate(model, pair, examples, rows)
        ):
            for row, i in enumerate(some):
                found[i] = TeacherAnswer(
                    text=generated.texts[row],
                    tokens=tuple(generated.tokens[row]),
                    confidence=_confidence(generated.top1[row, : generated.lengths[row]]),
                )
            progress(len(found) / len(examples))
    return [found[i] for i in range(len(examples))]


def _generate(
    model: MultimodalModel, pair: Pair, examples: Sequence[Example], batch: Sequence[int]
) -> Generated:
    prompt = passes.prompt(model, [examples[i] for i in batch])
    return model.generate(prompt, pair.max_new_tokens)


def _confidence(probabilities: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    """Geometric mean: a long answer is not less sure for being long."""
    logs = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1.0))
    return float(np.exp(logs.mean())) if len(logs) else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherOutputs:
    """What the teacher, and the student before the round, did with one example of n answer tokens.

    `projected` (K, D_t), `hidden` (m, D_t), `logits` (m, S), `old_logits` (n, C): None where no
    term of the loss reads them; `old_logits` also where the student of before was wrong. `steps`:
    (m,) int64, the student's steps that the teacher's m rows belong to; None: all n, one to one.
    """

    projected: Tensor | None
    hidden: Tensor | None
    logits: Tensor | None
    old_logits: Tensor | None
    steps: Tensor | None = None

    @property
    def num_bytes(self) -> int:
        parts = (self.projected, self.hidden, self.logits, self.old_logits)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)


class Observer:
    """Watches teacher and old student once per example, as far as memory allows.

    `student` must hold the adapter of before the round while examples are observed; what did not
    fit `cache_bytes` has its old student's part kept all the same: it cannot be had again later.
    """

    def __init__(
        self,
        teacher: MultimodalModel,
        student: MultimodalModel,
        examples: Sequence[Example],
        settings: DistilSettings,
        matching: Matching,
    ) -> None:
        self._teacher = teacher
        self._matching = matching
        self._examples = examples
        self._settings = settings
        self._kept: dict[int, TeacherOutputs] = {}
        self._old: dict[int, Tensor] = {}
        num_bytes = 0
        for batch in by_size(examples, settings.label_batch_size):
            if settings.a5 > 0:
                self._watch_student(student, [i for i in batch if examples[i].memory])
            if num_bytes < settings.cache_bytes:
                observed = self._watch_teacher(batch)
                num_bytes += sum(one.num_bytes for one in observed)
                self._kept |= dict(zip(batch, observed, strict=True))

    def of(self, indices: Sequence[int]) -> list[TeacherOutputs]:
        """The outputs for examples that all have the same K."""
        if all(i in self._kept for i in indices):
            return [self._kept[i] for i in indices]
        return self._watch_teacher(indices)

    def knew(self, index: int) -> bool:
        """Whether the student of before answered that example of memory as its label says."""
        return index in self._old

    @torch.no_grad()
    def _watch_teacher(self, indices: Sequence[int]) -> list[TeacherOutputs]:
        settings = self._settings
        if settings.a2 == settings.a3 == settings.a4 == 0:
            empty = dict.fromkeys(("projected", "hidden", "logits"))
            return [TeacherOutputs(**empty, old_logits=self._old.get(i)) for i in indices]
        seen = passes.run(self._teacher, [self._examples[i] for i in indices])
        hidden, logits = seen.hidden.split(seen.lengths), seen.logits.split(seen.lengths)
        labels = seen.labels.split(seen.lengths)
        found = []
        for row, i in enumerate(indices):
            steps = self._matching.steps(self._examples[i].answer, labels[row].tolist())
            at = slice(None) if steps is None else steps[1].to(self._teacher.device)
            logits_at = self._matching.of_teacher(logits[row][at]) if settings.a2 > 0 else None
            found.append(
                TeacherOutputs(
                    projected=seen.projected[row].float().clone() if settings.a3 > 0 else None,
                    hidden=hidden[row][at].clone() if settings.a4 > 0 else None,
                    logits=logits_at.clone() if logits_at is not None else None,
                    old_logits=self._old.get(i),
                    steps=None if steps is None else steps[0],
                )
            )
        return found

    @torch.no_grad()
    def _watch_student(self, student: MultimodalModel, indices: Sequence[int]) -> None:
        if not indices:
            return
        seen = passes.run(student, [self._examples[i] for i in indices])
        right = (seen.logits.argmax(dim=-1) == seen.labels).split(seen.lengths)
        for i, known, logits in zip(indices, right, seen.logits.split(seen.lengths), strict=True):
            # What it never knew cannot be forgotten: there, the label alone speaks.
            if bool(known.all()):
                self._old[i] = logits.clone()
