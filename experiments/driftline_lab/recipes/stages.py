"""The stages of a recipe: a work folder that keeps their results, progress on the screen, times."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from driftline_lab.recipes.training import Report
from driftline_shared.callbacks import Progress

_LOG_STEPS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """What the stages of a build share.

    `work`: the folder of their results. `share`: of the planned steps that are taken, below 1 for a
    trial of the recipe.
    """

    work: Path
    seed: int
    share: float
    num_threads: int
    bars: Bars

    def planned(self, number: int) -> int:
        """This build's share of `number`, two at least."""
        return max(2, round(number * self.share))

    def training(self, name: str, num_steps: int) -> Report:
        """A bar that shows the smoothed loss too; `log.txt` has a line of it every 50 steps."""
        task = self.bars.add_task(name, total=num_steps, loss="")
        smooth: list[float] = []
        started = time.monotonic()

        def report(step: int, loss: float) -> None:
            smooth[:] = [0.98 * smooth[0] + 0.02 * loss if smooth else loss]
            self.bars.update(task, completed=step + 1, loss=f"loss {smooth[0]:.3f}")
            if (step + 1) % _LOG_STEPS == 0:
                seconds = time.monotonic() - started
                with (self.work / "log.txt").open("a", encoding="utf-8") as log:
                    log.write(f"{name} {step + 1} loss {smooth[0]:.4f} {seconds:.0f} s\n")

        return report

    def progress(self, name: str) -> Progress:
        """A bar of the share done, which goes at the end."""
        task = self.bars.add_task(name, total=1.0, loss="")

        def progress(done: float) -> None:
            if done < 1.0:
                self.bars.update(task, completed=done)
            else:
                self.bars.remove_task(task)

        return progress

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that a stage takes to what earlier runs took over it."""
        started = time.monotonic()
        yield
        seconds = self.seconds()
        seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - started
        self._times.write_text(json.dumps(seconds), encoding="utf-8")

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds, over all runs of this work folder."""
        return json.loads(self._times.read_text(encoding="utf-8")) if self._times.exists() else {}

    def taken(self) -> str:
        """The stages' minutes, for a model card."""
        return ", ".join(f"{stage} {value / 60:.0f} min" for stage, value in self.seconds().items())

    @property
    def _times(self) -> Path:
        return self.work / "seconds.json"


@contextmanager
def open_stages(
    work: Path | None, *, seed: int, share: float, num_threads: int, console: Console | None = None
) -> Iterator[Stages]:
    """Stages in `work`, or in a folder that is gone afterwards; sets the number of CPU threads."""
    torch.set_num_threads(num_threads)
    columns = (
        TextColumn("{task.description:>14}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with tempfile.TemporaryDirectory() as scratch, Bars(*columns, console=console) as bars:
        folder = work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        yield Stages(work=folder, seed=seed, share=share, num_threads=num_threads, bars=bars)


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table of a model card."""
    rows = ["| " + " | ".join(row) + " |" for row in (head, *body)]
    return [rows[0], "|" + "---|" * len(head), *rows[1:]]


def kept(share: float) -> str:
    """Which visual tokens an accuracy is from."""
    return "all" if share == 1.0 else f"random {100 * share:g} %"
