"""Graphs beside the torch twin they were made of: logits, and whether answers are the same.

A greedy answer is the twin's when, along the twin's answer, every most likely next token is the
twin's. So an answer is compared without a decoding loop: one pass over the prompt, one over the
answer on its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.multimodal import LmBatch
from driftline_shared.pair.export_file import ModelTable, Precision

Floats = NDArray[np.float32]


def session(file: Path, threads: int = 1) -> Any:
    """A session of ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # It warns once for each overridable input, which are meant to be what they are.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(file), sess_options=options, providers=["CPUExecutionProvider"]
    )


class ExportedLm:
    """Language model and head of one precision, for checks: rows of a batch as the twin makes them.

    `precision` names files of `folder`.
    """

    def __init__(self, folder: Path, precision: Precision, model: ModelTable) -> None:
        self._lm = [session(folder / name) for name in (precision.lm, *precision.behind)]
        read = (precision.prefill, *precision.prefill_behind) if precision.prefill else ()
        self._prefill = [session(folder / name) for name in read] or self._lm
        self._head = session(folder / precision.head)
        self._model = model
        self._present = [
            f"present_{kind}.{layer}"
            for layer in range(model.num_layers)
            for kind in ("key", "value")
        ]

    def logits(
        self,
        embeds: Floats,
        positions: NDArray[np.int64],
        cache: Sequence[Floats] | None = None,
        given: dict[str, Floats] | None = None,
    ) -> tuple[Floats, list[Floats]]:
        """(B, T, vocabulary) logits of (B, T, D) `embeds`, and the cache after them; what pads a
        row stands behind it.

        `given`: overridable inputs of both graphs.
        """
        model, rows = self._model, len(embeds)
        graphs = self._prefill if cache is None else self._lm
        empty = np.zeros((rows, model.num_key_heads, 0, model.head_width), dtype=np.float32)
        past = cache if cache is not None else [empty] * len(self._present)
        names = [name.replace("present", "past", 1) for name in self._present]
        total = past[0].shape[2] + embeds.shape[1]
        fed: dict[str, Any] = {"inputs_embeds": embeds, "position_ids": positions}
        fed |= {"lengths": np.full(rows, total, np.int32), "total": np.full(1, total, np.int32)}
        fed |= dict(zip(names, past, strict=True)) | (given or {})
        made = _through(graphs, fed)
        present = [made[name] for name in self._present]
        flat = made["hidden"].reshape(-1, model.width)
        found = self._head.run(["logits"], {"hidden": flat} | _known(self._head, given))[0]
        return found.reshape(rows, -1, model.vocabulary), present

    def answers(self, model: FamilyModel, batch: LmBatch, ids: Sequence[int]) -> bool:
        """Whether it answers the one row of `batch` with `ids`, as decoded greedily."""
        embeds, positions, given = from_front(batch)
        logits, cache = self.logits(embeds, positions, given=given)
        if int(logits[0, -1].argmax()) != ids[0]:
            return False
        if len(ids) == 1:
            return True
        generated = torch.tensor([list(ids[:-1])], device=model.device)
        count = generated.shape[1]
        with torch.no_grad():
            embeds = model.net.get_input_embeddings()(generated).float().cpu().numpy()
        positions = positions[..., -1:] + 1 + np.arange(count)[None]
        logits, _ = self.logits(embeds, positions, cache)
        return bool((logits[0].argmax(axis=-1) == np.asarray(ids[1:])).all())


def logit_error(exported: ExportedLm, model: FamilyModel, batch: LmBatch) -> float:
    """Largest difference of logits from the twin's, over the largest logit; padding left out."""
    with torch.no_grad():
        wanted = model.forward(batch).logits.cpu().numpy()
    embeds, positions, given = from_front(batch)
    found, _ = exported.logits(embeds, positions, given=given)
    read = batch.attention_mask.cpu().numpy().astype(bool)
    wanted, found = wanted[read], found[read_first(batch)]
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))


def from_front(batch: LmBatch) -> tuple[Floats, NDArray[np.int64], dict[str, Floats]]:
    """Embeddings (B, T, D), positions, and what is added behind the first layers (`deep.{i}`
    (B, T, D), zero but where tokens stand); the padding, on the left of `batch`, behind each row.
    """
    order = (1 - batch.attention_mask).argsort(dim=1, stable=True)
    row = torch.arange(len(order), device=order.device)[:, None]

    def turned(states: torch.Tensor) -> Floats:
        array: Floats = states[row, order].detach().float().cpu().numpy()
        return array

    deep = {}
    for number, states in enumerate(batch.extra.get("deepstack_visual_embeds", ())):
        whole = torch.zeros_like(batch.inputs_embeds)
        whole[batch.extra["visual_pos_masks"]] = states.to(whole)
        deep[f"deep.{number}"] = turned(whole)
    positions = batch.position_ids[..., row, order].cpu().numpy()
    return turned(batch.inputs_embeds), positions, deep


def read_first(batch: LmBatch) -> NDArray[np.bool_]:
    """(B, T) the places of each row, where its padding stands behind them."""
    mask = batch.attention_mask.cpu().numpy()
    found: NDArray[np.bool_] = np.arange(mask.shape[1]) < mask.sum(axis=1, keepdims=True)
    return found


def _through(graphs: Sequence[Any], fed: dict[str, Any]) -> dict[str, Floats]:
    """What the graphs of a language model give, each reading what the one before gave."""
    found: dict[str, Floats] = {}
    for graph in graphs:
        given = [one.name for one in graph.get_outputs()]
        wanted = [name for name in given if name == "hidden" or name.startswith("present")]
        read = [*graph.get_inputs(), *graph.get_overridable_initializers()]
        names = {one.name for one in read}
        values = graph.run(wanted, {name: fed[name] for name in fed if name in names})
        found |= dict(zip(wanted, values, strict=True))
        fed = {**fed, "inputs_embeds": found["hidden"]}
    return found


def _known(graph: Any, given: dict[str, Floats] | None) -> dict[str, Floats]:
    names = {one.name for one in graph.get_overridable_initializers()}
    return {name: value for name, value in (given or {}).items() if name in names}
