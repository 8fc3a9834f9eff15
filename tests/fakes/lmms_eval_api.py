"""As much of lmms-eval 0.7.3 as a model meets: its base class, a request, and the evaluator's way
through a task. The package itself brings a torch of its own and is not installed for tests.

Recorded from `lmms_eval/api/model.py`, `api/instance.py`, `evaluator.py` and `tasks/__init__.py`:
names, arguments, and the form of results.
"""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest


@dataclass(frozen=True)
class StubTask:
    """A task: documents of the split `test`, what they show, ask, and the right answer."""

    docs: Sequence[Mapping[str, Any]]
    visuals: Callable[[Any], Any]
    settings: Mapping[str, Any] = field(default_factory=lambda: {"max_new_tokens": 8})
    request: str = "generate_until"


class _CacheHook:
    def add_partial(self, attribute: str, request: Any, result: Any) -> None:
        """Nothing is kept without a cache."""


class _Lmms(abc.ABC):
    is_simple = True

    def __init__(self) -> None:
        self.cache_hook = _CacheHook()
        self.task_dict: dict[str, Any] = {}

    @abc.abstractmethod
    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]: ...

    @abc.abstractmethod
    def generate_until(self, requests: list[Any]) -> list[str]: ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests: list[Any]) -> list[str]: ...


@dataclass
class _Instance:
    request_type: str
    arguments: tuple[Any, ...]

    @property
    def args(self) -> tuple[Any, ...]:
        return self.arguments


def installed(monkeypatch: pytest.MonkeyPatch, tasks: Mapping[str, StubTask]) -> None:
    """For one test `lmms_eval` can be imported, with these tasks."""

    class TaskManager:
        def __init__(self, include_path: str | None = None) -> None:
            self.include_path = include_path

        @property
        def all_tasks(self) -> list[str]:
            return sorted(tasks)

    def simple_evaluate(
        model: Any, tasks: list[str], limit: int | None = None, **_: Any
    ) -> dict[str, Any]:
        assert isinstance(model, _Lmms)
        return {"results": {name: _score(model, name, limit) for name in tasks}}

    def _score(model: Any, name: str, limit: int | None) -> dict[str, Any]:
        task = tasks[name]
        model.task_dict[name] = {"test": task.docs}
        docs = task.docs[:limit]
        requests = [
            _Instance(
                task.request,
                (doc["question"], dict(task.settings), task.visuals, number, name, "test"),
            )
            for number, doc in enumerate(docs)
        ]
        said = getattr(model, task.request)(requests)
        right = [
            text.strip().lower() == doc["answer"] for text, doc in zip(said, docs, strict=True)
        ]
        return {
            "alias": name,
            "exact_match,none": sum(right) / len(right),
            "exact_match_stderr,none": 0.1,
            "submission,none": None,
        }

    parts: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": _Lmms},
        "lmms_eval.evaluator": {"simple_evaluate": simple_evaluate},
        "lmms_eval.tasks": {"TaskManager": TaskManager},
    }
    for name, names in parts.items():
        module = ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)
