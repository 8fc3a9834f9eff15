"""One round's distillation: samples, rehearsal and source rows in, a candidate adapter out.

Same job, same bytes, on one kind of machine: every draw comes from the job's seed, torch's thread
count is part of the settings, and no operation used here sums in an order of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import structlog
import torch
from torch import Tensor, nn

from driftline_cloud.distill import passes
from driftline_cloud.distill.averaging import RunningMean
from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.distill.checkpoints.newest import Newest
from driftline_cloud.distill.checkpoints.state import Array, Moving, put_back, taken
from driftline_cloud.distill.examples import (
    Example,
    IndexSampler,
    Strata,
    by_size,
    draw_rows,
    from_samples,
    from_source,
    keep_some,
    split_source,
    sure,
)
from driftline_cloud.distill.losses import losses
from driftline_cloud.distill.losses.alignment import Alignment
from driftline_cloud.distill.questions import ask_more, hardest
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, as_on_devices, trained
from driftline_cloud.distill.subset import Subset, subset_step
from driftline_cloud.distill.teacher import Observer, TeacherOutputs
from driftline_cloud.jobs import Distilled, DistillJob
from driftline_shared.callbacks import Progress, part_of
from driftline_shared.errors import DataError
from driftline_shared.models.adapters import slots

_log = structlog.get_logger(__name__)

ALIGNMENT_EXAMPLES = 256
"""Examples the starting alignments are fitted on: source rows where there are any."""

ASKING_SHARE = 0.3
"""Of the progress that a training tells: further questions, before its first step. Of a large
teacher they take minutes."""


def distil(
    job: DistillJob,
    models: Models,
    progress: Progress,
    checkpoints: Checkpoints | None = None,
) -> Distilled:
    """Train the adapter of one round, from `job.start`, or on from where `checkpoints` hold a state
    of this very job; the result is the same bytes.

    A loss that is not finite ends the training early with `start` as the candidate and `finite` 0
    among the numbers: the gate then rejects it. Whatever `progress` raises passes through.
    """
    settings = models.settings(job.settings)
    models = as_on_devices(models, settings)
    with passes.fixed_threads(settings.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        newest = Newest(job, checkpoints)
        asking = part_of(progress, 0.0, ASKING_SHARE)
        fresh, memory, numbers = _examples(job, models, settings, newest, asking)
        sizes = (int(numbers["num_rehearsal"]), int(numbers["num_source"]))
        with trained(models.student, job.start) as parameters:
            run = _Run(job, models, settings, fresh, memory, sizes, parameters)
            rest = part_of(progress, ASKING_SHARE, 1.0 - ASKING_SHARE)
            return run.train(rest, numbers, newest)


def _examples(
    job: DistillJob,
    models: Models,
    settings: DistilSettings,
    newest: Newest,
    progress: Progress,
) -> tuple[list[Example], list[Example], dict[str, float]]:
    """Samples to learn, memory to keep, and how many of each."""
    space = models.pair.token_space
    samples, labels = sure(job.samples, job.labels, settings.confidence_floor)
    asked = from_samples(samples, space, labels)
    extra = newest.extra(asked, lambda: _further(asked, job, models, settings, progress))
    fresh = [*asked, *extra]
    older, older_labels = sure(job.rehearsal, job.rehearsal_labels, settings.confidence_floor)
    rehearsal = from_samples(older, space, older_labels, memory=True)
    source = _source_examples(models, settings, fresh, np.random.default_rng([job.seed, 1]))
    numbers = {
        "num_samples": len(asked),
        "num_dropped": len(job.samples) - len(asked),
        "num_extra": len(extra),
        "num_rehearsal": len(rehearsal),
        "num_source": len(source),
        "shared_strings": models.matching.vocabularies.shared_share,
        "matched_steps": models.matching.step_share([example.answer for example in fresh]),
    }
    return fresh, [*rehearsal, *source], {name: float(n) for name, n in numbers.items()}


def _further(
    asked: Sequence[Example],
    job: DistillJob,
    models: Models,
    settings: DistilSettings,
    progress: Progress,
) -> list[Example]:
    """`asked` under further questions: of many, those that are hard for the student as it is."""
    wanted = settings.extra_questions
    if wanted == 0:
        return []
    count = max(wanted, settings.asked_questions)
    rng = np.random.default_rng([job.seed, 4])
    found = ask_more(models, asked, count, settings, rng, part_of(progress, 0.0, 0.75))
    if count <= wanted:
        return found
    return hardest(models, job.start, found, wanted, settings, part_of(progress, 0.75, 0.25))


def _source_examples(
    models: Models, settings: DistilSettings, fresh: Sequence[Example], rng: np.random.Generator
) -> list[Example]:
    """Source rows with their true answers: some whole, the others cut as the samples are."""
    if settings.num_source_rows == 0 or settings.memory_batch_size == 0:
        return []
    source = models.pair.source_set()
    rows = draw_rows(split_source(source)[0], settings.num_source_rows, rng)
    kept = int(np.median([example.num_tokens for example in fresh])) if fresh else 0
    found = []
    for number, row in enumerate(rows):
        example = from_source(source, row, models.student.answer_ids(row.answer))
        whole = number < settings.full_token_share * len(rows) or kept == 0
        found.append(example if whole else keep_some(example, kept, rng))
    return found


class _Run:
    """The state of one training: examples, what the teacher made of them, optimizer."""

    def __init__(
        self,
        job: DistillJob,
        models: Models,
        settings: DistilSettings,
        fresh: list[Example],
        memory: list[Example],
        memory_sizes: Sequence[int],
        parameters: Mapping[str, nn.Parameter],
    ) -> None:
        self._start = job.start
        self._student = models.student
        self._matching = models.matching
        self._settings = settings
        self._parameters = parameters
        self._num_fresh = len(fresh)
        self._num_steps = settings.num_steps(len(fresh))
        self._examples = [*fresh, *memory] if fresh else []
        self._fresh = IndexSampler(len(fresh), np.random.default_rng([job.seed, 2]))
        self._memory = Strata(memory_sizes, np.random.default_rng([job.seed, 3]))
        self._observer = Observer(
            models.teacher, models.student, self._examples, settings, models.matching
        )
        self._query, self._language = self._alignments()
        self._aligned = {
            f"alignment.{kind}.{name}": parameter
            for kind, module in (("query", self._query), ("language", self._language))
            if module is not None
            for name, parameter in module.named_parameters()
        }
        self._optimizer = self._make_optimizer()
        self._subset_step = subset_step(self._settings, self._num_steps)
        self._subset: Subset | None = None
        self._mean = RunningMean(self._parameters)
        self._first_averaged = first_averaged(self._num_steps, self._subset_step, settings)

    def train(self, progress: Progress, numbers: dict[str, float], newest: Newest) -> Distilled:
        """All steps, or those after `newest`; see `distil`."""
        begin, first, terms = self._resumed(newest)
        finite = True
        for step in range(begin, self._num_steps):
            if step == self._subset_step:
                self._subset = self._choose()
            self._set_rate(step)
            terms = self._step()
            first = first or terms
            # One bad step poisons Adam's moments for good, so there is nothing to wait for.
            finite = all(math.isfinite(value) for value in terms.values())
            if not finite:
                break
            if step >= self._first_averaged:
                self._mean.take()
            newest.keep(partial(self._taken, step + 1, first, terms))
            progress((step + 1) / self._num_steps)
        if finite:
            self._mean.put()
        found = slots.read(self._student.model)
        finite = finite and all(bool(np.isfinite(array).all()) for array in found.values())
        numbers |= {f"first_{name}": value for name, value in first.items() if finite}
        numbers |= {f"last_{name}": value for name, value in terms.items() if finite}
        numbers |= {"num_steps": float(self._num_steps), "finite": float(finite)}
        if not finite:
            slots.write(self._student.model, self._start)
            found = dict(self._start)
        return Distilled(adapter=found, importance=self._importance(finite), numbers=numbers)

    def _taken(
        self, step: int, first: dict[str, float], terms: dict[str, float]
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """The state after `step` steps, as `_resumed` reads it."""
        state, arrays = taken(self._moving())
        if self._subset is not None:
            arrays |= {f"chosen.{name}": mask for name, mask in self._subset.chosen.items()}
        return {**state, "step": step, "first": first, "terms": terms}, arrays

    def _resumed(self, newest: Newest) -> tuple[int, dict[str, float], dict[str, float]]:
        """(steps done, terms of the first, of the last), all parts as the checkpoint has them."""
        checkpoint = newest.found
        if checkpoint is None:
            return 0, {}, {}
        state, arrays = checkpoint.state, checkpoint.arrays
        try:
            step = int(state["step"])
            first, terms = dict(state["first"]), dict(state["terms"])
            subset = self._chosen_before(arrays) if step > self._subset_step >= 0 else None
            if not 0 < step <= self._num_steps:
                raise DataError(f"step {step} is none of {self._num_steps}")
            put_back(self._moving(), state, arrays)
        except (DataError, KeyError, TypeError, ValueError) as error:
            newest.ignore(str(error))
            return 0, {}, {}
        self._subset = subset
        _log.info("distil.resumed", step=step, num_steps=self._num_steps)
        return step, first, terms

    def _chosen_before(self, arrays: Mapping[str, Array]) -> Subset:
        chosen = {name: arrays[f"chosen.{name}"] for name in self._parameters}
        for name, parameter in self._parameters.items():
            if chosen[name].shape != tuple(parameter.shape) or chosen[name].dtype != np.bool_:
                raise DataError(f"the choice of {name} is of another shape")
        return Subset.of(self._parameters, self._start, chosen)

    def _moving(self) -> Moving:
        return Moving(
            parameters={**self._parameters, **self._aligned},
            optimizer=self._optimizer,
            mean=self._mean,
            fresh=self._fresh,
            memory=self._memory,
        )

    def _step(self) -> dict[str, float]:
        """One optimizer step; the value of each term before it."""
        settings = self._settings
        drawn = self._fresh.draw(settings.batch_size)
        drawn += [self._num_fresh + i for i in self._memory.draw(settings.memory_batch_size)]
        chosen = [self._examples[i] for i in drawn]
        num_known = sum(self._observer.knew(i) for i in drawn)
        self._optimizer.zero_grad(set_to_none=True)
        totals: dict[str, float] = {}
        for places in by_size(chosen, len(chosen)):
            group = [drawn[place] for place in places]
            terms = self._terms(group)
            share = len(group) / len(drawn)
            remembered = sum(self._observer.knew(i) for i in group) / max(num_known, 1)
            loss = torch.zeros(())
            for name, (weight, value) in terms.items():
                part = remembered if name == "a5" else share
                loss = loss + weight * part * value
                totals[name] = totals.get(name, 0.0) + part * float(value.detach())
            # Of a group whose answers no step of the teacher matches, nothing may be left.
            if loss.requires_grad:
                loss.backward()
        totals["loss"] = sum(getattr(settings, name) * value for name, value in totals.items())
        if self._subset is not None:
            self._subset.hold()
        nn.utils.clip_grad_norm_(list(self._parameters.values()), settings.gradient_clip)
        self._optimizer.step()
        if self._subset is not None and self._settings.weight_decay:
            self._subset.take_back(self._optimizer)
        return totals

    def _terms(self, group: Sequence[int]) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term that is switched on, over examples of one K."""
        settings = self._settings
        examples = [self._examples[i] for i in group]
        seen = passes.run(self._student, examples)
        observed = self._observer.of(group)
        found: dict[str, tuple[float, Tensor]] = {}
        if settings.a1 > 0:
            found["a1"] = (settings.a1, losses.pseudo_label(seen.logits, seen.labels))
        matched = _Matched.of(seen.lengths, observed)
        if settings.a2 > 0 and matched.num_steps:
            teacher = torch.cat(_parts(observed, "logits"))
            student = self._matching.of_student(matched.rows(seen.logits))
            value = losses.answer_distribution(student, teacher, settings.temperature)
            found["a2"] = (settings.a2, value)
        if self._query is not None:
            target = torch.stack(_parts(observed, "projected"))
            aligned = self._query(seen.projected.float())
            value = losses.projected_tokens(aligned, target, self._query.scale)
            found["a3"] = (settings.a3, value)
        if self._language is not None and matched.num_steps:
            target = torch.cat(_parts(observed, "hidden"))
            aligned = self._language(matched.rows(seen.hidden))
            value = losses.answer_states(aligned, target, matched.lengths, self._language.scale)
            found["a4"] = (settings.a4, value)
        old = _parts(observed, "old_logits")
        if settings.a5 > 0 and old:
            rows = seen.logits.split(seen.lengths)
            known = [row for row, i in zip(rows, group, strict=True) if self._observer.knew(i)]
            kept = torch.cat(known)
            found["a5"] = (settings.a5, losses.forgetting(kept, torch.cat(old)))
        return found

    @torch.no_grad()
    def _alignments(self) -> tuple[Alignment | None, Alignment | None]:
        """W and W' as they begin, fitted where both models are at home: on source rows."""
        settings = self._settings
        if not self._examples or settings.a3 == settings.a4 == 0:
            return None, None
        home = [i for i, example in enumerate(self._examples) if example.memory]
        home = home[-ALIGNMENT_EXAMPLES:] or list(range(len(self._examples)))[:ALIGNMENT_EXAMPLES]
        ours: dict[str, list[Tensor]] = {"projected": [], "hidden": []}
        theirs: dict[str, list[Tensor]] = {"projected": [], "hidden": []}
        chosen = [self._examples[i] for i in home]
        for places in by_size(chosen, settings.label_batch_size):
            seen = passes.run(self._student, [chosen[place] for place in places])
            observed = self._observer.of([home[place] for place in places])
            ours["projected"].append(seen.projected.float().flatten(0, 1))
            ours["hidden"].append(_Matched.of(seen.lengths, observed).rows(seen.hidden))
            for name, parts in theirs.items():
                parts += _parts(observed, name)
        fitted = {
            name: Alignment(torch.cat(ours[name]), torch.cat(theirs[name])) if on else None
            for name, on in (
                ("projected", settings.a3 > 0),
                # Two tokenizers may not cut a single answer alike.
                ("hidden", settings.a4 > 0 and any(len(rows) for rows in ours["hidden"])),
            )
        }
        return fitted["projected"], fitted["hidden"]

    def _make_optimizer(self) -> torch.optim.AdamW:
        settings = self._settings
        aligned = list(self._aligned.values())
        groups = [
            {"params": list(self._parameters.values()), "peak": settings.learning_rate},
            {"params": aligned, "peak": settings.alignment_learning_rate},
        ]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )

    def _choose(self) -> Subset:
        """The weights that train on from here; see `subset`."""
        share = self._settings.trained_share
        subset = Subset(self._parameters, self._start, self._importance(True), share)
        subset.take_back(self._optimizer)
        return subset

    def _set_rate(self, step: int) -> None:
        share = rate_share(step, self._num_steps, self._settings)
        for group in self._optimizer.param_groups:
            group["lr"] = share * group["peak"]

    def _importance(self, finite: bool) -> dict[str, np.ndarray]:
        """sqrt of Adam's bias-corrected second moment: the Fisher diagonal's square root."""
        found = {}
        for name, parameter in self._parameters.items():
            state = self._optimizer.state.get(parameter)
            if not finite or not state:
                found[name] = np.zeros(tuple(parameter.shape), dtype=np.float32)
                continue
            decay = self._optimizer.param_groups[0]["betas"][1]
            corrected = state["exp_avg_sq"] / (1.0 - decay ** float(state["step"]))
            found[name] = corrected.sqrt().cpu().numpy().astype(np.float32)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Matched:
    """The answer steps of a pass that the teacher's rows belong to.

    `lengths`: of each row. `index`: into the rows laid end to end; None: all of them.
    """

    lengths: list[int]
    index: Tensor | None

    @staticmethod
    def of(lengths: list[int], observed: Sequence[TeacherOutputs]) -> _Matched:
        if all(one.steps is None for one in observed):
            return _Matched(lengths=lengths, index=None)
        starts = np.cumsum([0, *lengths[:-1]])
        steps = [
            torch.arange(length) if one.steps is None else one.steps
            for length, one in zip(lengths, observed, strict=True)
        ]
        parts = [one + int(start) for one, start in zip(steps, starts, strict=True)]
        return _Matched(lengths=[len(one) for one in steps], index=torch.cat(parts))

    @property
    def num_steps(self) -> int:
        return sum(self.lengths)

    def rows(self, rows: Tensor) -> Tensor:
        """(N, C) -> (m, C)."""
        return rows if self.index is None else rows[self.index.to(rows.device)]


def first_averaged(num_steps: int, subset_step: int, settings: DistilSettings) -> int:
    """The first step whose weights count in the candidate's mean; `num_steps` for none.

    Never before the step in which the weights that go back to the start are chosen.
    """
    start = num_steps - round(settings.averaged_share * num_steps)
    return max(start, subset_step) if subset_step < num_steps else start


def rate_share(step: int, num_steps: int, settings: DistilSettings) -> float:
    """Share of the peak learning rate at `step`: linear warm-up, then half a cosine."""
    warm = settings.warmup_share * num_steps
    if step < warm:
        return (step + 1) / (warm + 1)
    along = (step - warm) / max(num_steps - warm, 1.0)
    final = settings.final_share
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * along))


def _parts(observed: Sequence[TeacherOutputs], name: str) -> list[Tensor]:
    return [part for one in observed if (part := getattr(one, name)) is not None]
