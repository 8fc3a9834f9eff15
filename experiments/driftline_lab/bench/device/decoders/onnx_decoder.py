"""Our graphs, stepped by the code of the device's runtime; no picture, no prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.generation import LanguageModel
from driftline_device.runtime.onnx.graphs import ActiveAdapter, Graphs, activate
from driftline_device.runtime.onnx.prompts import TableFile
from driftline_lab.bench.device.decoders.decoder import Decoder
from driftline_shared.pair.export_file import (
    AdapterTable,
    Export,
    ModelTable,
    Precision,
    PromptTable,
    adapter_shapes,
    graph_parameters,
)

RANK = 16
STEP = 0.02
"""Standard deviation of the weights of a full adapter: what it costs does not depend on them."""

ROOM = 1_024
"""Places of a cache, as the other runtimes are given."""

_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_EMBEDDINGS = "embeddings.npy"


def write_graphs(checkpoint: Path, folder: Path, read: Sequence[int]) -> None:
    """Language model and head of a transformers checkpoint in fp32, int8 and int4, adaptable;
    outlier inputs are found on the token ids `read`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from driftline_shared.models.export.decoder import Adapted, Decoder
    from driftline_shared.models.export.outliers import find_outliers
    from driftline_shared.models.export.pair_export import (
        HEAD_KINDS,
        LANGUAGE_KINDS,
        language_graph,
    )

    net: Any = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, use_safetensors=True, local_files_only=True
    ).eval()
    found = find_outliers(net.model, [lambda: net(torch.tensor([read]))], head=net.lm_head)
    decoder, adapted = Decoder(net.model, outliers=found), Adapted(targets=_TARGETS, norms=True)
    for name in LANGUAGE_KINDS:
        graph, inputs = language_graph(decoder, name, head=net.lm_head, adapted=adapted)
        graph.save(folder / f"lm.{name}.onnx")
    for name, kind in HEAD_KINDS.items():
        graph, of_head = decoder.build_head(net.lm_head, kind, adapted=adapted)
        graph.save(folder / f"head.{name}.onnx")
    inputs.join(of_head)
    table = net.get_input_embeddings().weight.detach().numpy()
    np.save(folder / _EMBEDDINGS, table)
    model = ModelTable(
        num_visual_tokens=1,
        tower_width=1,
        width=decoder.width,
        vocabulary=len(table),
        num_layers=decoder.num_layers,
        num_heads=decoder.num_heads,
        num_key_heads=decoder.num_key_heads,
        head_width=decoder.head_width,
        max_positions=decoder.max_positions,
        query_layers=(),
        max_new_tokens=1,
    )
    adapter = AdapterTable(
        rank=RANK, alpha=2.0 * RANK, lora=tuple(inputs.lora), norms=tuple(inputs.norms)
    )
    (folder / "model.json").write_text(model.model_dump_json(), encoding="utf-8")
    (folder / "adapter.json").write_text(adapter.model_dump_json(), encoding="utf-8")


class OnnxDecoder(Decoder):
    """The graphs of one precision. `adapted`: under an adapter whose every tensor is in use."""

    def __init__(self, folder: Path, precision: str, threads: int, *, adapted: bool) -> None:
        export = _export(folder)
        sessions = Graphs(folder, export, precision, threads=threads)
        # Read row by row, as the device reads those of an export.
        mapped = np.load(folder / _EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        self._embeddings = TableFile(
            folder / _EMBEDDINGS, mapped.shape, mapped.dtype, begin=mapped.offset
        )
        # Only the embeddings of `Prompts` are asked for by a step.
        self._language = LanguageModel(export, sessions, prompts=self)  # type: ignore[arg-type]
        plain = ActiveAdapter(version=0, serial=0, tensors={})
        self._adapter = _adapter(export) if adapted else plain
        self.reset()

    def embed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """As `Prompts.embed`."""
        return self._embeddings.read(ids).astype(np.float32, copy=False)

    def reset(self) -> None:
        """See `Decoder`."""
        # The old one goes first: two would count.
        self._cache: Any = None
        self._cache = self._language.cache(1, ROOM)

    def read(self, ids: list[int]) -> int:
        """See `Decoder`."""
        row = np.asarray([ids], dtype=np.int64)
        places = self._cache.lengths[0] + np.arange(len(ids), dtype=np.int64)[None, None]
        fed = (self.embed(row), places, self._cache, self._adapter)
        if len(ids) == 1:
            return int(self._language.next_logits(*fed)[0].argmax())
        hidden, _ = self._language.step(*fed)
        return int(self._language.logits(hidden[:, -1], self._adapter)[0].argmax())


def token_bytes(folder: Path, name: str) -> int:
    """Bytes of weights and factors that one decoded token reads; `name`: a precision, under an
    adapter `-adapted`.
    """
    precision, _, adapted = name.partition("-")
    export = _export(folder)
    chosen = export.precisions[precision]
    # A graph that only decodes has the head inside.
    files = [chosen.lm] if chosen.prefill else [chosen.lm, chosen.head]
    weights = sum((folder / f"{file}.data").stat().st_size for file in files)
    if not adapted:
        return weights
    given = graph_parameters(export.adapter, _adapter(export).tensors)
    return weights + sum(array.nbytes for part in given.values() for array in part.values())


def _export(folder: Path) -> Export:
    """As much of an export as a step reads: there is no tower, no picture and no prompt."""

    def made(lm: str, head: str, prefill: str | None = None) -> Precision:
        return Precision.model_construct(lm=lm, head=head, prefill=prefill)

    prompt = PromptTable.model_construct(end_ids=(0,))
    return Export.model_construct(
        model=ModelTable.model_validate_json((folder / "model.json").read_text(encoding="utf-8")),
        adapter=AdapterTable.model_validate_json(
            (folder / "adapter.json").read_text(encoding="utf-8")
        ),
        prompt=prompt,
        precisions={
            "fp32": made("lm.fp32.onnx", "head.fp32.onnx"),
            "int8": made("lm.int8.onnx", "head.int8.onnx"),
            "int4": made("lm.int4.onnx", "head.int4.onnx", prefill="lm.int8.onnx"),
        },
    )


def _adapter(export: Export) -> ActiveAdapter:
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.normal(size=shape) * STEP + (len(shape) == 1)).astype(np.float32)
        for name, shape in adapter_shapes(export.adapter).items()
    }
    return activate(export, tensors, version=1, serial=1)
