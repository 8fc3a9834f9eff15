"""The model class that lmms-eval runs; made only where that package is installed.

lmms-eval asks a model for `generate_until` of requests, each with a context, generation settings
and where its document is. Only tasks that are answered in words fit: likelihoods are refused.
"""

from __future__ import annotations

from typing import Any

from driftline_lab.lmms.answering import Answerer
from driftline_lab.lmms.visuals import shown
from driftline_shared.errors import ConfigError, DataError, MissingPackageError

INSTALL = (
    "In an environment of its own: pip install lmms-eval==0.7.3, and Driftline's [cloud] beside it."
)


def adapted(answerer: Answerer) -> Any:
    """An lmms-eval model that answers with `answerer`. Raises ConfigError without lmms-eval."""
    try:
        from lmms_eval.api.model import lmms
    except ImportError as error:
        raise MissingPackageError(f"lmms-eval cannot be imported: {error}", INSTALL) from error

    class Driftline(lmms):
        """A Driftline model behind a compressor, one document at a time."""

        is_simple = True

        def generate_until(self, requests: list[Any]) -> list[str]:
            """Greedy answers, in order."""
            return [self._answered(*request.args) for request in requests]

        def generate_until_multi_round(self, requests: list[Any]) -> list[str]:
            """Not answered."""
            raise ConfigError("tasks of several rounds are not answered: choose another task")

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            """Not answered."""
            raise ConfigError("tasks that compare likelihoods are not answered: choose another")

        def _answered(
            self, context: str, options: Any, visuals_of: Any, number: Any, task: str, split: str
        ) -> str:
            visuals = visuals_of(self.task_dict[task][split][number])
            try:
                image = shown(visuals, answerer.frames)
            except DataError as error:
                raise DataError(f"task {task}, document {number}: {error}") from error
            said = answerer.answer(image, context, options)
            self.cache_hook.add_partial("generate_until", (context, options), said)
            return said

    return Driftline()
