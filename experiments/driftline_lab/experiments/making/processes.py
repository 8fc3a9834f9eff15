"""Runs side by side: so many processes, each with the pair's models, over one list of runs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from driftline_lab.experiments.making.child import WORKPLACE, Workplace
from driftline_lab.experiments.making.orders import Order, next_order

STOP_S = 15.0


class SideBySide:
    """The `Makers` protocol over child processes, which begin at once, with the first table.

    `missing`: the runs that are not there. `report`: gets a sentence now and then, from any thread.
    """

    def __init__(
        self,
        place: Workplace,
        missing: Sequence[Order],
        jobs: int,
        report: Callable[[str], None],
    ) -> None:
        self._place, self._report = place, report
        self._waiting = list(missing)
        self._open = {each.key for each in missing}
        self._total = len(missing)
        self._failed: dict[str, str] = {}
        self._materials: dict[int, str] = {}
        self._children: dict[int, Child] = {}
        self._closing = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(1, min(jobs, len(missing)) + 1)
        ]
        for thread in self._threads:
            thread.start()

    def settle(self, keys: Collection[str]) -> dict[str, str]:
        """See `Makers.settle`."""
        wanted = set(keys)
        with self._changed:
            self._changed.wait_for(lambda: not self._open & wanted)
            return {key: self._failed[key] for key in keys if key in self._failed}

    def close(self) -> None:
        """See `Makers.close`."""
        with self._changed:
            self._waiting.clear()
            self._closing = True
            children = list(self._children.values())
        for child in children:
            child.stop()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        def say(text: str) -> None:
            if not self._closing:
                self._report(f"{number}: {text}")

        child: Child | None = None
        while (order := self._take(number)) is not None:
            try:
                if child is None:
                    child = self._started(number)
                seconds, why = child.make(order.key, say)
                say(f"{order.title}: " + (f"failed: {why}" if why else f"{seconds:.0f} s"))
            except (OSError, ValueError) as error:  # none can be started, or half a line came
                why = f"its process: {error}"
                say(f"{order.title}: failed: {why}")
                if child is not None:
                    child.stop()
                    child.close()
            if child is not None and child.ended:
                child = None
            self._settled(order, why)
        if child is not None:
            child.close()

    def _take(self, number: int) -> Order | None:
        with self._changed:
            if not self._waiting:
                return None
            mine = self._materials.get(number, "")
            others = {one for place, one in self._materials.items() if place != number}
            order = next_order(self._waiting, mine, others)
            self._waiting.remove(order)
            self._materials[number] = order.material
            return order

    def _started(self, number: int) -> Child:
        child = Child(self._place)
        with self._changed:
            self._children[number] = child
            if self._closing:
                child.stop()
        return child

    def _settled(self, order: Order, why: str) -> None:
        with self._changed:
            self._open.discard(order.key)
            if why:
                self._failed[order.key] = why
            # Said before anyone who waits for this run goes on.
            if not self._closing:
                self._report(f"{self._total - len(self._open)} of {self._total} runs are done")
            self._changed.notify_all()


class Child:
    """One process of `child.py`; its log goes where this process's log goes."""

    def __init__(self, place: Workplace) -> None:
        """Raises OSError where no process can be started."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "driftline_lab.experiments.making.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the program that started it, which then stops it.
            start_new_session=True,
        )
        self._begin = WORKPLACE.dump_json(place).decode()
        self.ended = False

    def make(self, key: str, say: Callable[[str], None]) -> tuple[float, str]:
        """Seconds of the run of that key, and why it failed, or nothing."""
        assert self._process.stdin is not None and self._process.stdout is not None
        lines = [self._begin] if self._begin else []
        self._begin = ""
        with suppress(BrokenPipeError):  # where it has ended, nothing will be read either
            self._process.stdin.write("\n".join([*lines, json.dumps({"run": key})]) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            document = json.loads(line)
            if "say" in document:
                say(document["say"])
            else:
                return float(document.get("made", 0.0)), str(document.get("failed", ""))
        self.close()
        return 0.0, f"its process ended with code {self._process.returncode}"

    def stop(self) -> None:
        """End it in the middle of a run."""
        self._process.kill()

    def close(self) -> None:
        """Let it end, as it does with its input."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self.ended = True
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
