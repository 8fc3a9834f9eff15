"""Broken documents of every format, as many as wanted: whatever is no refusal is a finding.

Two engines: `mutations`, which runs anywhere and follows from a seed, and `atheris`, where it is
installed, which keeps what reaches new branches and breaks that further.
"""

from __future__ import annotations

import hashlib
import importlib.util
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from driftline_lab.bench.fuzz.formats.target import Target
from driftline_lab.bench.fuzz.formats.targets import NAMES, targets
from driftline_lab.bench.fuzz.formats.trees import changed_tree
from driftline_lab.bench.fuzz.mutations import mutated
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError, DriftlineError

MAX_BYTES = 1 << 16
"""Of a document."""

_MARGIN_S = 300.0
_SLOW_S = 1.0
"""A document that takes longer to read is a finding, too."""

_UNITS = re.compile(rb"stat::number_of_executed_units:\s+(\d+)")
_CORPUS = re.compile(rb"cov: (\d+)")


def has_atheris() -> bool:
    """Whether the engine that is guided by branches can run here."""
    return importlib.util.find_spec("atheris") is not None


def run_mutations(
    names: Iterable[str], *, num: int, seed: int, keep: Path | None = None
) -> dict[str, dict[str, Any]]:
    """`num` broken documents of each format; what came of them, by name."""
    with quiet():
        return {name: _mutated(targets()[name], name, num, seed, keep) for name in names}


def run_atheris(
    names: Iterable[str],
    *,
    seconds: float,
    seed: int,
    keep: Path | None = None,
    report: Callable[[str], None] = ignore,
) -> dict[str, dict[str, Any]]:
    """Each format for `seconds`, in a process of its own; what came of it, by name."""
    if not has_atheris():
        raise ConfigError("atheris is not installed", fix="pip install atheris, or another engine.")
    found = {}
    for name in names:
        found[name] = _guided(name, seconds, seed, keep)
        report(f"{name}: {found[name]['executions']} executions")
    return found


def known(names: Iterable[str]) -> list[str]:
    """All of `names`, or every format where none is named; ConfigError for an unknown one."""
    chosen = list(names) or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            raise ConfigError(f"no format {name!r}", fix=f"One of {', '.join(NAMES)}.")
    return chosen


def tried(target: Target, data: bytes) -> str:
    """What is wrong with how `data` was read; empty where it was read or refused, in time."""
    began_s = time.process_time()
    try:
        target.read(data)
    except target.refusals:
        pass
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    took_s = time.process_time() - began_s
    return "" if took_s < _SLOW_S else f"took {took_s:.1f} s"


@contextmanager
def quiet() -> Iterator[None]:
    """No lines of log: there would be one a document."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(**before)


def _drop(_logger: object, _name: str, _event: object) -> dict[str, Any]:
    raise structlog.DropEvent


def _mutated(target: Target, name: str, num: int, seed: int, keep: Path | None) -> dict[str, Any]:
    dice = random.Random(f"{name} {seed}")
    findings: Counter[str] = Counter()
    corpus = target.corpus
    for good in corpus:
        if what := tried(target, good):
            findings[f"a good one: {what}"] += 1
    for _ in range(num):
        good = dice.choice(corpus)
        # Half of what is JSON is broken behind the parser.
        tree = changed_tree(good, dice) if good[:1] in b"{[" and dice.random() < 0.5 else None
        data = (tree or mutated(good, corpus, dice))[:MAX_BYTES]
        if what := tried(target, data):
            findings[what] += 1
            _keep(keep, name, data)
    return {"executions": num, "findings": dict(findings)}


def _guided(name: str, seconds: float, seed: int, keep: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        artifacts = (keep or Path(folder)) / name
        artifacts.mkdir(parents=True, exist_ok=True)
        words = [
            sys.executable, "-m", "driftline_lab.bench.fuzz.formats.guided", name, str(corpus),
            f"-max_total_time={max(1, round(seconds))}", f"-seed={seed + 1}",
            f"-max_len={MAX_BYTES}", "-print_final_stats=1", f"-artifact_prefix={artifacts}/",
        ]  # fmt: skip
        done = subprocess.run(words, capture_output=True, timeout=seconds + _MARGIN_S, check=False)
        units = _UNITS.search(done.stderr)
        if units is None:
            raise DriftlineError(f"{name}: {done.stderr[-800:].decode(errors='replace')}")
        coverage = _CORPUS.findall(done.stderr)
        findings = Counter(
            line.decode(errors="replace")[:200]
            for line in done.stderr.splitlines()
            if line.startswith(b"finding ")
        )
        if done.returncode and not findings:
            findings[f"ended with {done.returncode}"] = 1
        return {
            "executions": int(units.group(1)),
            "findings": dict(findings),
            "branches": int(coverage[-1]) if coverage else 0,
            "corpus": len(list(corpus.iterdir())),
        }


def _keep(folder: Path | None, name: str, data: bytes) -> None:
    if folder is not None:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        (place / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
