"""A builder of ONNX graphs over onnx_ir: nodes in order, weights made only when they are written.

Weights are given as functions, so that a graph of a large model never holds a second copy of it:
each array is made, written and dropped. Graphs whose weights pass `EMBED_LIMIT_BYTES` keep them in
a file beside them (ONNX external data): protobuf ends at 2 GiB, and a session maps that file, where
it would hold embedded weights twice while it packs them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from driftline_shared.errors import PairError

MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""

OPSET = 21
IR_VERSION = 10

EMBED_LIMIT_BYTES = 1 << 20
"""Most bytes of weights inside one .onnx file (1 MiB)."""

PAGE_BYTES = 4_096
"""Weights in a file beside the graph begin at a page, so that they can be mapped; smaller ones stay
inside, where shape inference reads them.
"""

Shape = Sequence[int | str]
"""A dimension: its size, or a name where it varies."""


class Graph:
    """One graph while it is built; values are named by strings."""

    def __init__(self, name: str) -> None:
        self._graph = ir.Graph([], [], nodes=[], name=name, opset_imports={"": OPSET, MICROSOFT: 1})
        self._values: dict[str, ir.Value] = {}
        self._count = 0

    def input(self, name: str, shape: Shape, kind: ir.DataType = ir.DataType.FLOAT) -> str:
        """An input that must be given."""
        self._values[name] = value = ir.val(name, kind, shape)
        self._graph.inputs.append(value)
        return name

    def overridable(self, name: str, shape: Shape, default: NDArray[np.float32]) -> str:
        """An input with a value of its own, `default`; `shape` may vary where the default's is."""
        return self.constant(default, self.input(name, shape))

    def output(self, name: str, shape: Shape, kind: ir.DataType = ir.DataType.FLOAT) -> None:
        """Give the value `name` out."""
        value = self._values[name]
        value.type, value.shape = ir.TensorType(kind), ir.Shape(shape)
        self._graph.outputs.append(value)

    def constant(self, value: NDArray[Any], name: str | None = None) -> str:
        """A small array that is kept until the graph is written."""
        array = np.asarray(value)
        return self.weight(name or self._fresh("c"), array.shape, array.dtype, lambda: array)

    def weight(
        self, name: str, shape: Sequence[int], dtype: Any, make: Callable[[], NDArray[Any]]
    ) -> str:
        """An array that `make` gives when the graph is written."""
        if name in self._graph.initializers:
            raise PairError(f"graph {self._graph.name} has two weights {name}")

        def made() -> ir.Tensor:
            array = np.asarray(make(), dtype=dtype, order="C")
            if array.shape != tuple(shape):
                raise PairError(f"weight {name} has shape {array.shape}, not {tuple(shape)}")
            return ir.Tensor(array, name=name)

        value = self._values.setdefault(name, ir.Value(name=name))
        kind = ir.DataType.from_numpy(np.dtype(dtype))
        value.const_value = ir.LazyTensor(made, kind, ir.Shape(shape), name=name)
        self._graph.register_initializer(value)
        return name

    def shared_constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant that several nodes read under one name; the first value given stays."""
        return name if name in self._values else self.constant(value, name)

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
        values = [ir.Value(name=name) for name in outputs]
        read = [self._values[name] if name else None for name in inputs]
        self._graph.append(ir.node(kind, read, attributes, domain=domain, outputs=values))
        self._values.update(zip(outputs, values, strict=True))
        return list(outputs)

    def save(self, file: Path) -> list[Path]:
        """Write the graph; returns the files made, `file` first."""
        model = ir.Model(self._graph, ir_version=IR_VERSION, producer_name="driftline")
        weights = [value.const_value for value in self._graph.initializers.values()]
        if sum(weight.nbytes for weight in weights if weight) <= EMBED_LIMIT_BYTES:
            ir.save(model, file)
            return [file]
        beside = file.with_name(f"{file.name}.data")
        ir.save(
            model,
            file,
            external_data=beside.name,
            size_threshold_bytes=PAGE_BYTES - 1,
            alignment=PAGE_BYTES,
            align_threshold=0,
        )
        return [file, beside]

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"
