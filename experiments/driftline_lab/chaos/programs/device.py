"""A device: `python -m driftline_lab.chaos.programs.device CONFIG WITNESS SEED QUIET`.

The real daemon over an endless source of pictures, with the cheap runtime. While a file QUIET is
there, nothing is asked that it is unsure of. What it answered and what its spool took is told to
the file WITNESS, which no fault touches, before anything follows from it.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from driftline_device.runtime.runtime import Question
from driftline_device.sinks.event import Event
from driftline_device.sinks.sink import SinkStats
from driftline_shared.errors import DriftlineError
from driftline_shared.program.logs import setup_logs
from driftline_shared.program.process import set_up_process

_HARD_SHARE = 0.5


class Pictures:
    """A source that never ends."""

    name = "pictures"
    num_broken = 0

    def __init__(self, seed: int, quiet: Path) -> None:
        self._dice = random.Random(seed)
        self._quiet = quiet

    def __iter__(self) -> Generator[Question | None, None, None]:
        from driftline_lab.chaos.cheap.pair import WORDS, picture

        number = 0
        while True:
            number += 1
            word = self._dice.randrange(len(WORDS))
            hard = self._dice.random() < _HARD_SHARE and not self._quiet.exists()
            yield Question(
                image=picture(word, hard=hard, noise=self._dice.randrange(256)),
                text="what is it?",
                truth=WORDS[word],
                place=str(number),
            )


class Witness:
    """A sink that writes a line an answer; also told what the spool took.

    `a VERSION CORRECT`: an answer. `s ID` or `m ID`: a sample is on disk, or in memory alone for
    want of a disk.
    """

    name = "witness"

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.tell(f"b {time.time():.3f}")

    def tell(self, line: str) -> None:
        """One write, which a kill cannot tear."""
        os.write(self._file, f"{line}\n".encode())

    def start(self) -> None:
        """See `Sink`."""

    def offer(self, event: Event) -> None:
        """See `Sink`."""
        if event.kind == "answer":
            self.tell(f"a {event.body['version']} {event.body['answer']}")

    def close(self, timeout_s: float) -> bool:
        """See `Sink`."""
        return True

    def stats(self) -> SinkStats:
        """See `Sink`."""
        return SinkStats()


def _watch_spool(witness: Witness) -> None:
    from driftline_device.spool.sqlite import SqliteSpool

    append = SqliteSpool.append

    def append_and_tell(self: SqliteSpool, sample: Any) -> bool:
        stored = append(self, sample)
        if stored:
            where = "m" if sample.id in self._overflow else "s"
            witness.tell(f"{where} {sample.id.hex()}")
        return stored

    SqliteSpool.append = append_and_tell  # type: ignore[method-assign]


def main(config_file: Path, witness_file: Path, seed: int, quiet: Path) -> int:
    """Answer until SIGTERM; the exit code."""
    set_up_process()
    from driftline_device.config import load_config
    from driftline_device.program.assembly import open_daemon
    from driftline_device.program.service import stops_on_signals, stream
    from driftline_lab.chaos.cheap.runtime import CheapRuntime
    from driftline_lab.chaos.programs.clock import follow_orders
    from driftline_shared.pair.pair import load_pair

    follow_orders()
    setup_logs(form="json", limit_repeats=True)
    witness = Witness(witness_file)
    _watch_spool(witness)
    try:
        config = load_config(config_file, {}, {})
        pair = load_pair(config.pair)
        with (
            open_daemon(config, pair, CheapRuntime(pair.base_model), console=witness) as daemon,
            stops_on_signals(daemon),
        ):
            stream(daemon, [Pictures(seed, quiet)], settle_s=0.0, drain_s=5.0, hold=False)
    except DriftlineError as error:
        sys.stderr.write(f"{error}\n{error.fix}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
