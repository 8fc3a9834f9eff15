"""The graphs of one precision as ONNX Runtime sessions, and adapters as it takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from driftline_shared.errors import ConfigError, PairError
from driftline_shared.pair.export_file import Export, ModelTable, Part, graph_parameters
from driftline_shared.pair.tower_table import TowerTable
from driftline_shared.update import Adapter

if TYPE_CHECKING:
    from driftline_shared.p_ik.head import IkHead

CPU = "CPUExecutionProvider"

_OTHERS = ("tower", "projector", "head")

_ERRORS_ONLY = 3
"""Log severity: at the usual one each adapter input is a warning of its own."""

Value = Any
"""An `onnxruntime.OrtValue`: an array that ONNX Runtime holds; the package has no types."""


def package_version() -> str:
    """The version of onnxruntime."""
    return str(onnxruntime.__version__)


def part_of(whole: str, number: int) -> str:
    """The graph of the layers behind cut `number`; 0: those before the first."""
    return f"{whole}.{number}" if number else whole


def to_value(array: NDArray[Any]) -> Value:
    """An array as ONNX Runtime holds it; the array must not change while it is in use."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveAdapter:
    """An adapter version, ready to run: what it gives to each adapted part (`values`: part -> input
    -> value), a number that no other one of this process has (`serial`), the tensors it was made
    from, and the P(IK) head that judges its answers.
    """

    version: int
    serial: int
    tensors: Adapter
    ik_head: IkHead | None = None
    values: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def of(self, part: str) -> Mapping[str, Value]:
        """What the graph `part` is given under this adapter."""
        return self.values.get(part, {})

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
    """An adapter as inputs of the graphs. Raises UpdateError when it does not fit the model."""
    held = {name: np.array(array, dtype=np.float32) for name, array in adapter.items()}
    given = graph_parameters(export.adapter, held)
    values: dict[str, dict[str, Value]] = {
        part: {name: to_value(array) for name, array in arrays.items()}
        for part, arrays in given.items()
    }
    return ActiveAdapter(
        version=version, serial=serial, tensors=held, ik_head=ik_head, values=values
    )


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


class Binding:
    """Passes of one graph whose inputs and outputs were bound before; one thread at a time.

    What stays is bound once: an adapter of thirty layers has 300 inputs.
    """

    def __init__(
        self, session: Any, inputs: Mapping[str, Value], outputs: Mapping[str, Value | None]
    ) -> None:
        self._session, self._binding = session, session.io_binding()
        # A binding points to values without owning them.
        self._kept: dict[str, Value] = {**inputs, **outputs}
        for name, value in inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, place in outputs.items():
            if place is None:
                self._binding.bind_output(name)
            else:
                self._binding.bind_ortvalue_output(name, place)
        self._own = {name: at for at, (name, place) in enumerate(outputs.items()) if place is None}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """One pass with the further inputs `feeds`; the outputs that have no place of their own."""
        for name, array in feeds.items():
            self._kept[name] = value = to_value(array)
            self._binding.bind_ortvalue_input(name, value)
        for name in self._own:
            # What a pass made stays bound, and has that pass's shape.
            self._binding.bind_output(name)
        self._session.run_with_iobinding(self._binding)
        given = self._binding.get_outputs_as_ortvaluevector()
        return {name: given[at].numpy() for name, at in self._own.items()}


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
        reads: bool = False,
        looks: bool = False,
    ) -> None:
        """`threads` None: as many as onnxruntime chooses. `reads`, `looks`: open the graphs of
        those names, too, which the export has. Raises PairError, ConfigError.
        """
        if precision not in export.precisions:
            raise ConfigError(
                f"precision is {precision!r}; {folder} holds {', '.join(sorted(export.precisions))}"
            )
        self.precision = precision
        self.providers = choose_providers(providers)
        files = export.precisions[precision].files()
        if reads and export.tower is not None and export.tower.reads is not None:
            files["reads"] = export.tower.reads
        self._sessions = {
            part: self._open(folder / name, threads)
            for part, name in sorted(files.items())
            if looks or not part.startswith("look.")
        }
        self._inputs = {
            part: frozenset(
                one.name for one in (*session.get_inputs(), *session.get_overridable_initializers())
            )
            for part, session in self._sessions.items()
        }
        self._outputs = {
            part: [one.name for one in session.get_outputs()]
            for part, session in self._sessions.items()
        }

    def check(self, export: Export) -> None:
        """PairError unless the graphs have the shapes that export.json names: what is allocated
        goes by those.
        """
        model, image = export.model, export.image
        axes = len(export.layout.axes)
        wanted: dict[tuple[str, str], dict[int, int | str]] = {
            ("tower", "pixels"): {-2: image.height, -1: image.width},
            ("projector", "tokens"): {-1: model.tower_width},
            ("lm", "inputs_embeds"): {-1: model.width},
            ("lm", "position_ids"): {0: axes if axes > 1 else "B"},
            **{
                (part, f"past_key.{layer}"): {1: model.num_key_heads, 3: model.head_width}
                for part, layers in self._pieces(model)
                for layer in layers
            },
            **{(part, "inputs_embeds"): {-1: model.width} for part in self._looks()},
            ("head", "hidden"): {-1: model.width},
        }
        shapes = {
            (part, one.name): one.shape
            for part in (*_OTHERS, *self._looks(), *(part for part, _ in self._pieces(model)))
            for one in self._sessions[part].get_inputs()
        }
        for (part, name), sides in wanted.items():
            shape = shapes.get((part, name), [])
            found = [shape[axis] if len(shape) >= 2 else None for axis in sides]
            if found != list(sides.values()):
                raise PairError(
                    f"the graph {part} reads {name} {shape}, export.json says "
                    f"{list(sides.values())}; export the pair again"
                )
        others = [
            (part, name)
            for part, name in shapes
            if name.startswith("past_key.") and (part, name) not in wanted
        ]
        if others:
            raise PairError(
                f"export.json leaves out layers of the graph {others[0][0]}, which reads "
                f"{others[0][1]}; export the pair again"
            )
        if self.has("reads") and export.tower is not None:
            self._check_reads(export.tower)

    def _check_reads(self, tower: TowerTable) -> None:
        """What methods fold by: `keys` are as wide as states, `head_attention` has all heads."""
        wanted = {"keys": tower.width, "head_keys": tower.width, "head_attention": tower.heads}
        given = {one.name: one.shape[-1] for one in self._sessions["reads"].get_outputs()}
        for name in wanted.keys() & given.keys():
            if given[name] != wanted[name]:
                raise PairError(
                    f"the graph reads gives {name} of {given[name]}, export.json says "
                    f"{wanted[name]}; export the pair again"
                )

    def _pieces(self, model: ModelTable) -> Iterator[tuple[str, range]]:
        """The graphs of the language model, those that read prompts, too, with their layers."""
        for whole in ("lm", *(["prefill"] if self.has("prefill") else [])):
            for number, layers in enumerate(model.pieces):
                yield part_of(whole, number), layers

    def _looks(self) -> list[str]:
        return [part for part in self._sessions if part.startswith("look.")]

    def tower_batch(self, export: Export, most: int) -> int:
        """Pictures that the tower reads in one pass: `most` frames at most. A rounded tower reads
        one at a time: it scales by all that it is given, and what is kept of a picture must not
        depend on which others came with it.
        """
        tower = export.precisions[self.precision].tower
        is_rounded = tower != export.precisions["fp32"].tower
        return 1 if is_rounded else max(1, most // export.image.num_frames)

    def inputs(self, part: str) -> frozenset[str]:
        """Names of what the graph reads, overridable ones included."""
        return self._inputs[part]

    def outputs(self, part: str) -> list[str]:
        """Names of what the graph gives."""
        return self._outputs[part]

    def overridable(self, part: str) -> list[str]:
        """Names of the inputs that have a value of their own."""
        return [one.name for one in self._sessions[part].get_overridable_initializers()]

    def has(self, part: str) -> bool:
        """Whether there is such a graph: `prefill` is not always there."""
        return part in self._sessions

    def run(
        self, part: Part, feeds: Mapping[str, NDArray[Any]], adapter: ActiveAdapter | None
    ) -> NDArray[np.float32]:
        """The first output of tower, projector or head."""
        given = {name: to_value(array) for name, array in feeds.items()}
        values = adapter.of(part) if adapter is not None else {}
        names = self._outputs[part][:1]
        outputs = self._sessions[part].run_with_ort_values(names, {**given, **values})
        array: NDArray[np.float32] = outputs[0].numpy()
        return array

    def several(
        self, part: Literal["tower", "reads"], feeds: Mapping[str, NDArray[Any]], names: list[str]
    ) -> dict[str, NDArray[np.float32]]:
        """The outputs `names` of a graph that no adapter reaches."""
        return dict(zip(names, self._sessions[part].run(names, dict(feeds)), strict=True))

    def bind(
        self, part: str, inputs: Mapping[str, Value], outputs: Mapping[str, Value | None]
    ) -> Binding:
        """Passes of a graph of the language model that keep these inputs, as far as it reads them,
        and write these outputs where they are; None: into an array of each pass's own.
        """
        known = self._inputs[part]
        read = {name: value for name, value in inputs.items() if name in known}
        return Binding(self._sessions[part], read, outputs)

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
