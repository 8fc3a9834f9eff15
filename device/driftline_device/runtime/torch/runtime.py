"""TorchRuntime: the student under torch, quantized by bitsandbytes, with two adapter slots.

Its own session is that of the slot in force. Weights are written into the spare slot while requests
go on, and only the flip takes a turn; the spare slot holds one trial or one swap at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from driftline_device.runtime.runtime import Session, UploadFrom
from driftline_device.runtime.session import TRIAL_VERSION
from driftline_device.runtime.torch.session import PREFIX_BYTES, Student, TorchSession
from driftline_device.runtime.turns import Turns
from driftline_shared.errors import ConfigError, PairError, UpdateError
from driftline_shared.models.adapters import slots
from driftline_shared.models.loading import load_student
from driftline_shared.p_ik.head import IkHead
from driftline_shared.pair.pair import Pair
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.update import Adapter

MAX_BATCH = 16
"""Questions in one pass of the model; longer calls run in several."""


class TorchRuntime(TorchSession):
    """The student of a pair, answering under its active adapter; safe from any thread."""

    def __init__(
        self,
        pair: Pair,
        *,
        device: str = "cpu",
        threads: int | None = 1,
        adapter: Adapter | None = None,
        version: int = 0,
        max_batch: int = MAX_BATCH,
        compressor: CompressorChoice | None = None,
        upload_from: UploadFrom = "all",
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        """Load the student quantized as the pair says; `adapter` None is version 0.

        `threads`: CPU threads of torch for the whole process (None: leave as is), 1 by default
        since a device has other things to do. `compressor`: the method that images are read
        through, see docs/compression.md, and `upload_from` what may be sent then. Raises
        PairError, ConfigError, UpdateError (adapter of another shape).
        """
        if max_batch < 1 or (threads is not None and threads < 1):
            raise ConfigError("threads and max_batch are 1 or more")
        if threads is not None:
            torch.set_num_threads(threads)
        model = load_student(pair, device=device, compressor=compressor)
        if model.grid != pair.token_space.grid:
            raise PairError(
                f"{pair.name}: the tower gives tokens on {model.grid}, the token space says "
                f"{pair.token_space.grid}; run `driftline models fit-token-space`"
            )
        slots.add_slot(model.model)
        if pair.quantization == "int8":
            # It warns at every product that activations are cast: that is what LLM.int8 does.
            logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        student = Student(
            pair,
            model,
            upload_from=upload_from,
            max_batch=max_batch,
            prefix_bytes=prefix_bytes,
        )
        super().__init__(student, slots.ACTIVE, version, pair.ik_head)
        self.pair = pair
        self._spare_lock = threading.Lock()
        self._is_tried = False
        if adapter is not None:
            slots.write(model.model, adapter, slots.ACTIVE)

    @property
    def base_model(self) -> str:
        """Hex digest of the frozen base weights as run here (quantization included)."""
        return self.pair.base_model

    @property
    def ik_head(self) -> IkHead | None:
        """The P(IK) head that judges answers of the active adapter."""
        return self._ik_head

    @property
    def turns(self) -> Turns:
        """One request at a time, first come, first served."""
        return self._student.turns

    @contextmanager
    def trial(self, adapter: Adapter) -> Iterator[Session]:
        """A session of `adapter` in the spare slot, while the active one goes on answering.

        Raises UpdateError when the adapter does not fit the model, or during another trial.
        """
        with self._spare_lock:
            session = TorchSession(self._student, self._write_spare(adapter), TRIAL_VERSION)
            self._is_tried = True
        try:
            yield session
        finally:
            session.close()
            self._is_tried = False

    def swap(self, adapter: Adapter, version: int, ik_head: IkHead | None = None) -> float:
        """Make `adapter` the active one between two requests; pause in milliseconds.

        `ik_head`: comes into force with it; None: the one in force stays. The pause is the time for
        which no request can run: writing weights is not part of it.
        Raises UpdateError, with nothing changed for requests, when the adapter does not fit the
        model, or during a trial.
        """
        with self._spare_lock:
            slot = self._write_spare(adapter)
            with self._student.turns.ahead():
                start_s = time.perf_counter()
                self._student.use(slot)
                self._slot, self._version = slot, version
                self._serial = self._student.serial()
                self._ik_head = ik_head or self._ik_head
                pause_s = time.perf_counter() - start_s
            # Of no use any more: their keys name the version before. Tower tokens stay.
            self._student.prefixes.clear()
        return pause_s * 1e3

    def _write_spare(self, adapter: Adapter) -> str:
        """The spare slot, with `adapter` in it; the caller holds its lock."""
        if self._is_tried:
            raise UpdateError("a trial holds the only spare slot: end it first")
        slot = slots.SPARE if self._slot == slots.ACTIVE else slots.ACTIVE
        slots.write(self._model.model, adapter, slot)
        return slot
