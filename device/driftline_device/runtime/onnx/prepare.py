"""`driftline device prepare`: an export checked and timed on this machine, the choice written down.

Every precision answers the same questions at several numbers of CPU threads. The fastest whose
answers are those of fp32, which is the cloud's twin, is what `runtime = "onnx"` runs from then on.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from driftline_device.runtime.onnx.graphs import package_version
from driftline_device.runtime.onnx.prepared import (
    Candidate,
    Prepared,
    export_digest,
    this_machine,
    write_prepared,
)
from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Question
from driftline_shared.callbacks import Progress, part_of
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.host.memory import available_bytes
from driftline_shared.host.processors import busy_share, num_processors
from driftline_shared.pair.export_file import Export, Precision, check_files, is_export
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.program.extras import needs_extra

MIN_AGREEMENT = 0.99
"""Least share of answers that must be those of fp32."""

NUM_QUESTIONS = 200
"""Most questions asked of each precision: one that differs in a hundred must show."""

NUM_TIMED = 40
"""Questions timed at each further number of threads: the answers are known by then."""

MOST_BUSY = 0.2
"""Share of the processors that other programs may use without a word."""

SLOWER = 2.0
"""Times that more threads may take as long as fewer without a word."""

_BATCH = 8
"""Questions at once that memory is reckoned for: `batch_size` of the device by default."""

_TEXT_TOKENS = 256
"""Text around the image and question that memory is reckoned for."""

_WEIGHT_COPIES = 2
"""A weight in memory is at most the graph's own and one packed for the processor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Memory in bytes: what a precision needs at most, and what there is (None: not known)."""

    needed: int
    available: int | None

    @property
    def fits(self) -> bool:
        return self.available is None or self.needed <= self.available


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was found: the choice, and memory by precision, also of those that do not fit.

    `disturbed`: what speaks against the times, if anything.
    """

    folder: Path
    prepared: Prepared
    memory: dict[str, Fit]
    disturbed: tuple[str, ...] = ()


def export_folder(pair_or_export: str, out: Path | None, report: Callable[[str], None]) -> Path:
    """The folder of the export; a pair is exported to `out` (NAME-export where nothing is given),
    unless it was already.

    Raises PairError, ConfigError (where exporting needs packages that are not here, too).
    """
    pair = load_pair(pair_or_export)
    if pair.exported is not None:
        if out is not None:
            raise ConfigError(f"{pair_or_export} is an export already: leave out --out")
        return pair.dir
    folder = out or Path(f"{pair.name}-export")
    if is_export(folder) and load_pair(folder).base_model == pair.base_model:
        report(f"{folder} is an export of this pair already")
        return folder
    elsewhere = (
        f"or run `driftline models export {pair_or_export} --out DIR` where that is installed, "
        "copy DIR here, and prepare it"
    )
    with needs_extra(f"exporting {pair_or_export}", "export", instead=elsewhere):
        from driftline_shared.models.export.pair_export import export_pair
    export_pair(pair, folder, report=report)
    return folder


def prepare(
    folder: Path,
    *,
    threads: Sequence[int] = (),
    num_questions: int = NUM_QUESTIONS,
    progress: Progress,
    keeps_disturbed: bool = True,
) -> Report:
    """Check the export in `folder`, time it here, and write prepared.json into it, but where other
    work disturbed the times and that `keeps_disturbed` not.

    `threads`: numbers of CPU threads to try; empty: one, half of the processors, all of them.
    Raises PairError for files that are not those exported, or where memory does not hold them.
    """
    pair = load_pair(folder)
    if pair.exported is None:
        raise PairError(f"{folder} is no export; make one with `driftline models export`")
    check_files(folder, pair.exported)
    memory = {
        name: Fit(needed=needed_bytes(pair.exported, one), available=available_bytes())
        for name, one in pair.exported.precisions.items()
    }
    if not memory["fp32"].fits:
        raise PairError(
            f"fp32, with which the others are compared, needs up to {_mib(memory['fp32'].needed)} "
            f"MiB of memory and {_mib(memory['fp32'].available or 0)} MiB are free: end other "
            'programs, or set precision = "int8" to run it uncompared'
        )
    questions = probe_questions(pair, num_questions)
    tried = sorted(set(threads or _thread_counts()))
    busy = busy_share()
    candidates = _time_all(pair, memory, tried, questions, progress)
    chosen = choose(candidates)
    prepared = Prepared(
        export=export_digest(folder),
        machine=this_machine(),
        onnxruntime=package_version(),
        precision=chosen.precision,
        threads=chosen.threads,
        num_questions=len(questions),
        candidates=candidates,
    )
    disturbed = tuple(disturbances(busy, candidates))
    if keeps_disturbed or not disturbed:
        write_prepared(folder, prepared)
    return Report(folder=folder, prepared=prepared, memory=memory, disturbed=disturbed)


def disturbances(busy: float | None, candidates: Sequence[Candidate]) -> Iterator[str]:
    """Why the times may not be this machine's own: other work when it began (`busy`, its share of
    the processors; None: not known), and more threads that were much slower than fewer.
    """
    again = "end other work and run it again"
    if busy is not None and busy > MOST_BUSY:
        yield f"other programs used {busy:.0%} of the processors when this began: {again}"
    for one in candidates:
        fewer = [c for c in candidates if c.precision == one.precision and c.threads < one.threads]
        if any(one.answer_ms > SLOWER * other.answer_ms for other in fewer):
            yield (
                f"{one.precision} took {one.answer_ms:.1f} ms on {one.threads} threads and "
                f"{min(other.answer_ms for other in fewer):.1f} ms on fewer, which other work on "
                f"the processors would explain: {again}"
            )
            return


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The fastest whose answers agree with those of fp32, which itself always does."""
    return min(
        (one for one in candidates if one.agreement >= MIN_AGREEMENT),
        key=lambda one: one.answer_ms,
    )


def probe_questions(pair: Pair, most: int) -> list[Question]:
    """Questions of the pair's self-check set, then those questions about its other pictures.

    Raises PairError where there are none.
    """
    probe = pair.probe_set()
    if not probe:
        raise PairError(f"{pair.dir} has no self-check set (probe/) to ask about")
    own = [Question(image=item.image, text=item.question) for item in probe]
    texts = list(dict.fromkeys(item.question for item in probe))
    # Turned by one more picture each round, so that a bound leaves every picture some questions.
    others = (
        Question(image=item.image, text=texts[(number + turn) % len(texts)])
        for turn in range(1, len(texts))
        for number, item in enumerate(probe)
        if texts[(number + turn) % len(texts)] != item.question
    )
    return [*own[:most], *islice(others, max(0, most - len(own)))]


# -- memory --------------------------------------------------------------------------------------


def needed_bytes(export: Export, precision: Precision) -> int:
    """Bytes of memory a precision takes at most, reckoned from its files and shapes."""
    model = export.model
    places = len(export.layout.ids) + _TEXT_TOKENS + model.max_new_tokens
    cache = 2 * model.num_layers * model.num_key_heads * model.head_width * places
    widest = max((one.width for one in export.dropout), default=model.width)
    # What is added behind layers, and what one graph gives and the next reads.
    handed = (model.num_deep + 2 * len(model.cuts)) * model.width
    states = places * (6 * model.width + 2 * widest + handed)
    attention = model.num_heads * places * places
    logits = 4 * model.vocabulary
    return (
        _WEIGHT_COPIES * precision.num_bytes
        # Of a step the cache before it and behind it.
        + 4 * _BATCH * (2 * cache + states + attention + logits)
    )


def _mib(num_bytes: int) -> int:
    return -(-num_bytes // (1 << 20))


# -- time ----------------------------------------------------------------------------------------


def _thread_counts() -> list[int]:
    num = num_processors()
    return [1, max(1, num // 2), num]


def _time_all(
    pair: Pair,
    memory: dict[str, Fit],
    threads: Sequence[int],
    questions: Sequence[Question],
    progress: Progress,
) -> list[Candidate]:
    """One after the other, so that only one is in memory; fp32 first, whose answers are wanted."""
    wanted: list[tuple[int, ...]] = []
    candidates: list[Candidate] = []
    fitting = sorted((n for n in memory if memory[n].fits), key=lambda name: (name != "fp32", name))
    share = 1.0 / (len(fitting) * len(threads))
    for precision in fitting:
        agreement = 0.0
        for number, count in enumerate(threads):
            asked = questions if number == 0 else questions[:NUM_TIMED]
            part = part_of(progress, len(candidates) * share, share)
            answer_ms, given = _time(pair, precision, count, asked, part)
            if number == 0:
                wanted = wanted or given
                same = [ours == theirs for ours, theirs in zip(given, wanted, strict=True)]
                agreement = statistics.fmean(same)
            candidates.append(
                Candidate(
                    precision=precision, threads=count, answer_ms=answer_ms, agreement=agreement
                )
            )
    return candidates


def _time(
    pair: Pair,
    precision: str,
    threads: int,
    questions: Sequence[Question],
    progress: Progress,
) -> tuple[float, list[tuple[int, ...]]]:
    """Median milliseconds to an answer and the token ids of all; nothing is kept between them."""
    runtime = OnnxRuntime(
        pair, precision=precision, threads=threads, feature_bytes=0, prefix_bytes=0
    )
    runtime.answer(questions[:1])
    took_ms, given = [], []
    for number, question in enumerate(questions, 1):
        began_s = time.perf_counter()
        (answer,) = runtime.answer([question])
        took_ms.append(1e3 * (time.perf_counter() - began_s))
        given.append(answer.step_ids)
        progress(number / len(questions))
    return statistics.median(took_ms), given
