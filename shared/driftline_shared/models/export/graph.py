"""A builder of ONNX graphs: nodes in order, weights made only when they are written.

Weights are given as functions, so that a graph of a large model never holds a second copy of it:
each array is made, written and dropped. Graphs whose weights pass `EMBED_LIMIT_BYTES` keep them in
a file beside them (ONNX external data): protobuf ends at 2 GiB, and a session maps that file, where
it would hold embedded weights twice while it packs them anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from driftline_shared.errors import PairError

MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""

OPSET = 21
IR_VERSION = 10

EMBED_LIMIT_BYTES = 1 << 20
"""Most bytes of weights inside one .onnx file (1 MiB)."""

Shape = Sequence[int | str]
"""A dimension: its size, or a name where it varies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Weight:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[], NDArray[Any]]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self) -> NDArray[Any]:
        made = np.asarray(self.make(), dtype=self.dtype, order="C")
        if made.shape != self.shape:
            raise PairError(f"weight {self.name} has shape {made.shape}, not {self.shape}")
        return made


class Graph:
    """One graph while it is built; values are named by strings."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._weights: dict[str, _Weight] = {}
        self._count = 0

    def input(self, name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> str:
        """An input that must be given."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def overridable(self, name: str, shape: Shape, default: NDArray[np.float32]) -> str:
        """An input with a value of its own, `default`; `shape` may vary where the default's is."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        self.constant(default, name)
        return name

    def output(self, name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> None:
        """Give the value `name` out."""
        self._outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def constant(self, value: NDArray[Any], name: str | None = None) -> str:
        """A small array that is kept until the graph is written."""
        array = np.asarray(value)
        return self.weight(name or self._fresh("c"), array.shape, array.dtype, lambda: array)

    def weight(
        self, name: str, shape: Sequence[int], dtype: Any, make: Callable[[], NDArray[Any]]
    ) -> str:
        """An array that `make` gives when the graph is written."""
        if name in self._weights:
            raise PairError(f"graph {self.name} has two weights {name}")
        self._weights[name] = _Weight(
            name=name, shape=tuple(shape), dtype=np.dtype(dtype), make=make
        )
        return name

    def shared_constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant that several nodes read under one name; the first value given stays."""
        return name if name in self._weights else self.constant(value, name)

    def ints(self, *values: int) -> str:
        """A constant list of int64, made once for equal values."""
        name = "ints_" + "_".join(str(value).replace("-", "m") for value in values)
        return self.shared_constant(name, np.asarray(values, dtype=np.int64))

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        *,
        name: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node with one output and return it; an empty input is one left out."""
        return self.nodes(kind, inputs, [name or self._fresh(kind)], domain=domain, **attributes)[0]

    def nodes(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node with these outputs and return them."""
        made = helper.make_node(kind, list(inputs), list(outputs), domain=domain, **attributes)
        self._nodes.append(made)
        return list(outputs)

    def save(self, file: Path) -> list[Path]:
        """Write the graph; returns the files made, `file` first."""
        total = sum(weight.num_bytes for weight in self._weights.values())
        beside = file.with_name(f"{file.name}.data") if total > EMBED_LIMIT_BYTES else None
        tensors = self._external(beside) if beside is not None else self._embedded()
        file.write_bytes(self._model(tensors).SerializeToString())
        return [file] if beside is None else [file, beside]

    def _embedded(self) -> list[TensorProto]:
        return [numpy_helper.from_array(w.array(), w.name) for w in self._weights.values()]

    def _external(self, beside: Path) -> list[TensorProto]:
        tensors = []
        with beside.open("wb") as data:
            for weight in self._weights.values():
                # Shape inference reads small values: they stay inside. Large ones begin at a page,
                # so that they can be mapped.
                if weight.num_bytes < 4_096:
                    tensors.append(numpy_helper.from_array(weight.array(), weight.name))
                    continue
                data.seek(-(-data.tell() // 4_096) * 4_096)
                place = {
                    "location": beside.name,
                    "offset": str(data.tell()),
                    "length": str(weight.num_bytes),
                }
                tensor = TensorProto(
                    name=weight.name,
                    dims=weight.shape,
                    data_type=helper.np_dtype_to_tensor_dtype(weight.dtype),
                    data_location=TensorProto.EXTERNAL,
                )
                for key, value in place.items():
                    tensor.external_data.add(key=key, value=value)
                weight.array().tofile(data)
                tensors.append(tensor)
        return tensors

    def _model(self, tensors: list[TensorProto]) -> ModelProto:
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, tensors)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=IR_VERSION,
            producer_name="driftline",
        )

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"
