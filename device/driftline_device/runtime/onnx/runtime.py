"""OnnxRuntime: an exported pair, answering under an adapter that is a value."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from driftline_device.runtime.onnx.compression.compressing import compressing
from driftline_device.runtime.onnx.graphs import CPU, Graphs
from driftline_device.runtime.onnx.session import OnnxSession, Student
from driftline_device.runtime.runtime import Session, UploadFrom
from driftline_device.runtime.seen import FEATURE_BYTES
from driftline_device.runtime.session import TRIAL_VERSION
from driftline_device.runtime.turns import Turns
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.host.processors import num_processors
from driftline_shared.p_ik.head import IkHead
from driftline_shared.pair.export_file import load_version_0
from driftline_shared.pair.pair import Pair
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.update import Adapter

_log = structlog.get_logger(__name__)

MAX_BATCH = 16
"""Questions in one pass of the model; longer calls run in several."""

PREFIX_BYTES = 64 << 20
"""Caches of prompts up to their question that are kept (64 MiB)."""


class OnnxRuntime(OnnxSession):
    """The student of an exported pair, answering under its active adapter; safe from any thread."""

    def __init__(
        self,
        pair: Pair,
        *,
        precision: str,
        threads: int | None = 1,
        providers: Sequence[str] = (CPU,),
        adapter: Adapter | None = None,
        version: int = 0,
        max_batch: int = MAX_BATCH,
        feature_bytes: int = FEATURE_BYTES,
        prefix_bytes: int = PREFIX_BYTES,
        compressor: CompressorChoice | None = None,
        upload_from: UploadFrom = "all",
    ) -> None:
        """Load the graphs of `precision`; `adapter` None is version 0.

        `threads`: of the CPU, None leaves it to onnxruntime. `compressor`: the method that images
        are read through, see docs/compression.md, and `upload_from` what may be sent then. Raises
        PairError, ConfigError, UpdateError (adapter of another shape).
        """
        if max_batch < 1 or (threads is not None and threads < 1):
            raise ConfigError("threads and max_batch are 1 or more")
        if pair.exported is None:
            raise PairError(
                f"{pair.dir} is no export; make one with `driftline models export {pair.name} "
                "--out DIR` and run the device with --pair DIR"
            )
        export = pair.exported
        through = compressing(export, compressor, upload_from) if compressor else None
        if through is not None and through.compression.row().blocks == "wanted":
            _log.info(
                "compressor.behind_the_tower",
                compressor=through.compression.name,
                fix="Nothing to do: an export's tower runs as a whole, so tokens merge behind it.",
            )
        graphs = Graphs(
            pair.dir,
            export,
            precision,
            threads=threads,
            providers=providers,
            reads=bool(through and through.needs),
            looks=bool(through and through.looks_into_layers),
        )
        student = Student(
            pair,
            export,
            graphs,
            turns=Turns(num_places(threads)),
            max_batch=max_batch,
            feature_bytes=feature_bytes,
            prefix_bytes=prefix_bytes,
            compressing=through,
        )
        first = adapter if adapter is not None else load_version_0(pair.dir, export)
        super().__init__(student, student.activate(first, version, pair.ik_head))
        self.pair = pair
        self._swap_lock = threading.Lock()

    @property
    def base_model(self) -> str:
        """Hex digest of the frozen base weights that the graphs were made from."""
        return self._student.export.base_model

    @property
    def ik_head(self) -> IkHead | None:
        """The P(IK) head that judges answers of the active adapter."""
        return self._open().ik_head

    @property
    def precision(self) -> str:
        """Which graphs run."""
        return self._student.graphs.precision

    @property
    def turns(self) -> Turns:
        """As many calls at a time as have processors of their own; more wait in order."""
        return self._student.turns

    @contextmanager
    def trial(self, adapter: Adapter) -> Iterator[Session]:
        """A session of `adapter`, while the active one goes on answering.

        Raises UpdateError when the adapter does not fit the model.
        """
        session = OnnxSession(self._student, self._student.activate(adapter, TRIAL_VERSION))
        try:
            yield session
        finally:
            session.close()

    def swap(self, adapter: Adapter, version: int, ik_head: IkHead | None = None) -> float:
        """Make `adapter` the active one for all calls that start from now on; pause in
        milliseconds: the time for which no call could start.

        `ik_head`: comes into force with it; None: the one in force stays. Calls under way finish as
        they started. Raises UpdateError, with nothing changed, when the adapter does not fit the
        model.
        """
        made = self._student.activate(adapter, version, ik_head or self.ik_head)
        with self._swap_lock:
            # The old one is freed later: that takes longer than the change itself.
            before = self._adapter
            start_s = time.perf_counter()
            self._adapter = made
            pause_s = time.perf_counter() - start_s
        del before
        # Of no use any more: their keys name the version before. Tower tokens stay.
        self._student.prefixes.clear()
        self._student.looks.clear()
        return pause_s * 1e3


def num_places(threads: int | None) -> int:
    """Calls at a time: as many as have processors of their own, on `threads` each (None: all)."""
    processors = num_processors()
    return max(1, processors // (threads or processors))
