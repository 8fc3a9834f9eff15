"""The graphs of one precision as ONNX Runtime sessions, and adapters as it takes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from driftline_shared.errors import ConfigError, PairError
from driftline_shared.p_ik.head import IkHead
from driftline_shared.pair.export_file import Export, Part, graph_parameters
from driftline_shared.update import Adapter

CPU = "CPUExecutionProvider"

_ERRORS_ONLY = 3
"""Log severity: at the usual one each adapter input is a warning of its own."""

Value = Any
"""An `onnxruntime.OrtValue`: an array that ONNX Runtime holds; the package has no types."""


def package_version() -> str:
    """The version of onnxruntime."""
    return str(onnxruntime.__version__)


def to_value(array: NDArray[Any]) -> Value:
    """An array as ONNX Runtime holds it; the array must not change while it is in use."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveAdapter:
    """An adapter version, ready to run: `options` of each adapted part, a number that no other
    one of this process has (`serial`), the tensors it was made from, and the P(IK) head that judges
    its answers.

    `loaded` keeps alive what `options` point to without owning it.
    """

    version: int
    serial: int
    tensors: Adapter
    ik_head: IkHead | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    loaded: Mapping[str, Any] = field(default_factory=dict)

    def copy(self) -> Adapter:
        """The tensors, for somebody who may write into them."""
        return {name: array.copy() for name, array in self.tensors.items()}


def activate(
    export: Export,
    adapter: Adapter,
    *,
    version: int,
    serial: int,
    ik_head: IkHead | None = None,
) -> ActiveAdapter:
    """One `.onnx_adapter` a part, loaded. Raises UpdateError when it does not fit the model."""
    held = {name: np.array(array, dtype=np.float32) for name, array in adapter.items()}
    options: dict[str, Any] = {}
    loaded: dict[str, Any] = {}
    for part, arrays in graph_parameters(export.adapter, held).items():
        if arrays:
            loaded[part] = _loaded(arrays)
            options[part] = onnxruntime.RunOptions()
            options[part].add_active_adapter(loaded[part])
    return ActiveAdapter(
        version=version,
        serial=serial,
        tensors=held,
        ik_head=ik_head,
        options=options,
        loaded=loaded,
    )


def _loaded(arrays: Mapping[str, NDArray[np.float32]]) -> Any:
    """The library's own adapter of `arrays`, which it reads from nothing but a file."""
    made = onnxruntime.AdapterFormat()
    made.set_adapter_version(1)
    made.set_model_version(1)
    made.set_parameters({name: to_value(array) for name, array in arrays.items()})
    loaded = onnxruntime.LoraAdapter()
    # Loading maps the file, and a mapped file outlives its name.
    with _scratch_file() as file:
        made.export_adapter(file)
        loaded.Load(file)
    return loaded


@contextmanager
def _scratch_file() -> Iterator[str]:
    """A file of this process's memory, where the system has such: a device with a full disk, or
    without a temporary folder, takes up its adapter all the same.
    """
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory(prefix="driftline-adapter-") as folder:
            yield str(Path(folder) / "part.onnx_adapter")
        return
    descriptor = os.memfd_create("driftline-adapter")
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def choose_providers(wanted: Sequence[str]) -> list[str]:
    """Those of `wanted` that this onnxruntime has, in order; CPU at the end, for what the others
    cannot run. Raises ConfigError for a name that onnxruntime does not know at all, or if none is
    there.
    """
    known, there = onnxruntime.get_all_providers(), onnxruntime.get_available_providers()
    for name in wanted:
        if name not in known:
            raise ConfigError(f"providers names {name!r}; onnxruntime knows {', '.join(known)}")
    chosen = [name for name in wanted if name in there]
    if not chosen:
        raise ConfigError(
            f"of providers {', '.join(wanted) or '(none)'} this install of onnxruntime has none; "
            f"it has {', '.join(there)}"
        )
    return chosen if CPU in chosen else [*chosen, CPU]


class Graphs:
    """The graphs of one precision; safe from any thread."""

    def __init__(
        self,
        folder: Path,
        export: Export,
        precision: str,
        *,
        threads: int | None = 1,
        providers: Sequence[str] = (CPU,),
    ) -> None:
        """`threads` None: as many as onnxruntime chooses. Raises PairError, ConfigError."""
        if precision not in export.precisions:
            raise ConfigError(
                f"precision is {precision!r}; {folder} holds {', '.join(sorted(export.precisions))}"
            )
        self.precision = precision
        self.providers = choose_providers(providers)
        files = export.precisions[precision].files()
        self._sessions = {
            part: self._open(folder / name, threads) for part, name in sorted(files.items())
        }
        self._outputs = {
            part: [one.name for one in session.get_outputs()]
            for part, session in self._sessions.items()
        }

    def outputs(self, part: str) -> list[str]:
        """Names of what the graph gives."""
        return self._outputs[part]

    def has(self, part: str) -> bool:
        """Whether there is such a graph: `prefill` is not always there."""
        return part in self._sessions

    def run(
        self, part: Part, feeds: Mapping[str, NDArray[Any]], adapter: ActiveAdapter | None
    ) -> NDArray[np.float32]:
        """The one output of tower, projector or head."""
        options = adapter.options.get(part) if adapter is not None else None
        given: list[NDArray[np.float32]] = self._sessions[part].run(None, dict(feeds), options)
        return given[0]

    def run_values(
        self, part: str, wanted: Sequence[str], feeds: Mapping[str, Value], adapter: ActiveAdapter
    ) -> list[Value]:
        """Outputs of the language model that stay where they are, for the next step to read."""
        return list(
            self._sessions[part].run_with_ort_values(
                list(wanted), dict(feeds), adapter.options.get("lm")
            )
        )

    def _open(self, file: Path, threads: int | None) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Threads wait awake between the nodes of a graph, where sleep would cost more than the node
        # does, and not while the next graph runs: they would keep its cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            return onnxruntime.InferenceSession(
                str(file), sess_options=options, providers=self.providers
            )
        # Its errors share no base but this one, and say what is wrong with the graph.
        except Exception as error:
            raise PairError(
                f"{file} cannot be loaded by onnxruntime {onnxruntime.__version__}: {error}; "
                "export the pair again"
            ) from error
