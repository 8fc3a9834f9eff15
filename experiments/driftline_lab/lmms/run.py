"""Tasks by budgets: every task once with all visual tokens, and once at each budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from driftline_lab.bench.compression.rows import markdown
from driftline_lab.lists import wholes_of
from driftline_lab.lmms.adapter import INSTALL, adapted
from driftline_lab.lmms.answering import ModelChoice, load_answerer, share_of
from driftline_shared.errors import ConfigError, MissingPackageError


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one task. `tokens`: the budget, None with all tokens; `visual`: tokens that a
    layer computed, mean over layers and documents.
    """

    task: str
    metric: str
    tokens: int | None
    value: float
    documents: int
    visual: float


def evaluated(
    choice: ModelChoice,
    *,
    compressor: str,
    options: Mapping[str, Any],
    tokens: Sequence[int],
    tasks: Sequence[str],
    include: str | None = None,
    limit: int | None = None,
) -> list[Score]:
    """Scores of `tasks`, uncompressed first, then at each of `tokens`.

    `include`: a folder with task files of one's own. `limit`: documents of each task. Raises
    ConfigError without lmms-eval, for a wrong model or method, or an unknown task.
    """
    try:
        from lmms_eval.evaluator import simple_evaluate
        from lmms_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingPackageError(f"lmms-eval cannot be imported: {error}", INSTALL) from error
    if tokens and not compressor:
        raise ConfigError("tokens: budgets need a compressor, such as --compressor visionzip")
    manager = TaskManager(include_path=include)
    unknown = [task for task in tasks if task not in manager.all_tasks]
    if unknown:
        raise ConfigError(f"tasks: lmms-eval knows no {', '.join(unknown)}")
    whole = load_answerer(choice, "", {})
    scores: list[Score] = []
    for budget in (None, *tokens):
        answerer = whole
        if budget is not None:
            keep = share_of(budget, whole.model.num_tokens)
            answerer = load_answerer(choice, compressor, dict(options) | {"keep": keep})
        for task in tasks:
            answerer.visual.clear()
            done = simple_evaluate(
                model=adapted(answerer),
                tasks=[task],
                task_manager=manager,
                limit=limit,
                batch_size=1,
                log_samples=False,
            )
            scores += _scores(done["results"], task, budget, answerer.visual)
    return scores


def parse_tokens(text: str) -> list[int]:
    """ "192,128,64", or none. Raises ConfigError for what is no list of counts."""
    return list(wholes_of("--tokens", text, least=1)) if text else []


def as_text(scores: Sequence[Score]) -> str:
    """A Markdown table of them."""
    return markdown(
        (
            ("task", lambda row: row.task),
            ("metric", lambda row: row.metric),
            ("tokens", lambda row: "all" if row.tokens is None else str(row.tokens)),
            ("value", lambda row: f"{row.value:.4f}"),
            ("documents", lambda row: str(row.documents)),
            ("visual", lambda row: f"{row.visual:.1f}"),
        ),
        scores,
    )


def document(scores: Sequence[Score], choice: ModelChoice, compressor: str) -> dict[str, Any]:
    """As JSON."""
    return {
        "model": choice.name,
        "compressor": compressor,
        "scores": [asdict(score) for score in scores],
    }


def _scores(
    results: Mapping[str, Mapping[str, Any]],
    task: str,
    tokens: int | None,
    visual: Sequence[float],
) -> list[Score]:
    """The metrics of a task and of its parts; texts and errors of the mean are left out."""
    mean = sum(visual) / len(visual) if visual else 0.0
    return [
        Score(
            task=name,
            metric=key.split(",")[0],
            tokens=tokens,
            value=float(value),
            documents=len(visual),
            visual=mean,
        )
        for name, metrics in results.items()
        for key, value in metrics.items()
        if isinstance(value, int | float) and "," in key and "_stderr" not in key
    ]
