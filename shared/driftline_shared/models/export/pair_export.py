"""A pair's student as a folder that runs without torch: `export_pair`.

The graphs are made of the cloud's *twin*, the student's weights quantized as the pair says and
dequantized again, so fp32 is the twin itself, int8 and int4 round it once more, and a device that
runs any of them stays on the pair's line of adapter versions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from driftline_shared.errors import PairError
from driftline_shared.models.export import folder as folders
from driftline_shared.models.export.agreement import ExportedLm, logit_error
from driftline_shared.models.export.cuts import checked_cuts, look_file, needed_cuts, piece_file
from driftline_shared.models.export.decoder import Adapted, Decoder, Inputs, Precisions
from driftline_shared.models.export.families.family import FamilyGraphs, num_deep
from driftline_shared.models.export.families.table import FAMILIES, graphs_of
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.export.linear import Kind
from driftline_shared.models.export.outliers import find_outliers
from driftline_shared.models.export.preparation import (
    device_tokenizer,
    input_rows,
    layout_table,
    prompt_table,
)
from driftline_shared.models.export.tower.files import random_pictures, tokens_of, write_tower
from driftline_shared.models.export.tower.reads import tower_table
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.models.multimodal import LmBatch
from driftline_shared.pair.export_file import (
    EXPORT_FILE,
    AdapterTable,
    Export,
    GridTable,
    ModelTable,
    Precision,
    file_digest,
    load_export,
)
from driftline_shared.pair.families import read_config
from driftline_shared.pair.image_steps import pixels_of
from driftline_shared.pair.pair import Pair, ProbeItem
from driftline_shared.pair.update_root import FILE as UPDATE_ROOT
from driftline_shared.pair.update_root import pair_root
from driftline_shared.pair.weights import weight_files
from driftline_shared.program.compressor import CompressorChoice

MAX_LOGIT_ERROR = 1e-4
"""Largest difference of the fp32 graphs from the twin, as a share of the largest logit."""

LANGUAGE_KINDS: dict[str, Precisions] = {
    "fp32": Precisions(usual="fp32"),
    "int8": Precisions(usual="int8"),
    "int4": Precisions(usual="int4"),
}
"""lm.NAME.onnx -> how its linear layers are rounded."""

_DECODE_ONLY = frozenset({"int4"})
"""Those that another graph reads prompts for: they draw no dropout and show no queries."""

HEAD_KINDS: dict[str, Kind] = {"fp32": "fp32", "int8": "int8_blocks", "int4": "int4"}
"""head.NAME.onnx -> how the head is rounded. It reads one row at a time, where blocks are fast."""

_CHECKED_ROWS = 64
"""Probe questions that are asked at export: more say little more and take long."""

_PACKAGES = ("driftline", "onnx", "onnxruntime", "torch", "transformers")

Report = Callable[[str], None]
"""Called with what is done next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written.

    `agreement`: share of `num_checked` probe answers of each precision that are the twin's.
    `logit_error`: of fp32, over the largest logit. `tower`: which tower int8 and int4 use, and why.
    """

    export: Export
    logit_error: float
    num_checked: int
    agreement: dict[str, float]
    tower: str


def export_pair(
    pair: Pair,
    out: Path,
    *,
    update_root: bytes | None = None,
    force: bool = False,
    cuts: Sequence[int] = (),
    compressors: Sequence[CompressorChoice] = (),
    report: Report = print,
) -> Exported:
    """Write the student of `pair` to `out`; `report` gets what is being done. `update_root`: whose
    updates are believed, in place of what the pair says of it. `cuts`: layers before which the
    language model is cut, for compressors that drop tokens there; where those of `compressors` do,
    it is cut as well.

    Raises PairError for a pair that cannot be exported or whose graphs differ from the twin,
    ConfigError for a folder that may not be written, and layers that cannot be cut at.
    """
    folders.check_target(out, force=force)
    family = str(read_config(pair.student_dir).get("model_type"))
    if family not in FAMILIES:
        raise PairError(
            f"{pair.name}: students of the family {family!r} cannot be exported, only "
            f'{", ".join(FAMILIES)}: use runtime = "torch" for this pair'
        )
    report("loading the student")
    model = load_model(
        pair.student_dir,
        prompt=pair.student.prompt,
        quantization=pair.quantization,
        twin=True,
        canvas=pair.canvas,
    )
    assert isinstance(model, FamilyModel)
    cuts = sorted({*cuts, *needed_cuts(compressors, model)})
    with folders.replacing(out) as made:
        exported = _Work(pair, model, graphs_of(family, model), made, report, cuts).run(family)
        # Not among the files of export.json: it may be replaced.
        if (root := update_root or pair_root(pair.dir)) is not None:
            (made / UPDATE_ROOT).write_bytes(root)
        load_export(made)
    return exported


def language_graph(
    decoder: Decoder,
    name: str,
    *,
    head: Any,
    adapted: Adapted,
    query_layers: Collection[int] = (),
    layers: range | None = None,
) -> tuple[Graph, Inputs]:
    """The graph lm.NAME.onnx of `layers`, all if None, and its inputs; `head` is the linear layer
    of logits.
    """
    decode_only = name in _DECODE_ONLY
    if decode_only:
        # By those of the layer before a cut a compressor chooses what layers behind it read.
        is_cut = layers is not None and layers.stop < decoder.num_layers
        query_layers = (layers[-1],) if layers and is_cut else ()
    return decoder.build(
        LANGUAGE_KINDS[name],
        adapted=adapted,
        query_layers=query_layers,
        decodes=(head, HEAD_KINDS[name]) if decode_only else None,
        layers=layers,
    )


class _Work:
    """One export while it is made in `folder`."""

    def __init__(
        self,
        pair: Pair,
        model: FamilyModel,
        own: FamilyGraphs,
        folder: Path,
        report: Report,
        cuts: Sequence[int],
    ) -> None:
        self.pair = pair
        self.own = own
        self.model = model
        self.folder = folder
        self.report = report
        self.inputs = Inputs()
        self.image = own.image(model)
        self.probe = pair.probe_set()[:_CHECKED_ROWS] if (pair.dir / "probe").is_dir() else []
        self.head = model.net.get_output_embeddings()
        runs = [partial(self._answer, item) for item in self.probe]
        self.decoder = Decoder(
            model.language,
            num_deep=num_deep(model, own),
            outliers=find_outliers(model.language, runs, head=self.head),
        )
        self.cuts = checked_cuts(cuts, self.decoder.num_layers)

    def run(self, family: str) -> Exported:
        """Write every file; export.json comes last."""
        pair, model, folder = self.pair, self.model, self.folder
        folders.copy_pair(pair, folder)
        folders.write_embeddings(input_rows(model), folder)
        tokenizer = device_tokenizer(model, folder / "tokenizer.json")
        self._write_language()
        table = AdapterTable(
            rank=pair.adapter.rank,
            alpha=pair.adapter.alpha,
            lora=tuple(self.inputs.lora),
            norms=tuple(self.inputs.norms),
        )
        folders.write_version_0(table, pair.adapter.seed, model.language, folder)
        tower, reason = write_tower(
            pair.name,
            model,
            self.own,
            self.image,
            [item.image for item in self.probe],
            folder,
            self.report,
        )
        precisions = self._precisions(tower)
        shapes = self._shapes()
        error, agreement = self._check(precisions, shapes)
        export = Export(
            format=2,
            pair=pair.name,
            base_model=pair.base_model,
            token_space=pair.token_space.digest,
            quantization=pair.quantization,
            family=family,
            made_with={name: metadata.version(name) for name in _PACKAGES},
            files=folders.entries(folder),
            sources={path.name: file_digest(path) for path in self._sources()},
            grid=GridTable(frames=model.grid.frames, rows=model.grid.rows, cols=model.grid.cols),
            model=shapes,
            precisions=precisions,
            image=self.image,
            prompt=prompt_table(model, pair.student.prompt, tokenizer),
            layout=layout_table(model),
            adapter=table,
            tower=tower_table(model),
            dropout=tuple(self.inputs.dropout),
            dropout_rate=pair.adapter.dropout,
        )
        (folder / EXPORT_FILE).write_text(export.model_dump_json(indent=1), encoding="utf-8")
        return Exported(
            export=export,
            logit_error=error,
            num_checked=len(self.probe),
            agreement=agreement,
            tower=reason,
        )

    # -- graphs -----------------------------------------------------------------------------------

    def _write_language(self) -> None:
        """Projector, layers and head; what inputs they have is noted once."""
        spec = self.pair.adapter
        query = Adapted(targets=[f"projector.{name}" for name in spec.query_targets])
        language = Adapted(targets=spec.language_targets, norms=spec.norms)
        graph, inputs = self.own.projector(self.model, query)
        graph.save(self.folder / "projector.onnx")
        self.inputs.join(inputs)
        pieces = self._shapes().pieces
        for name, (number, layers) in product(LANGUAGE_KINDS, enumerate(pieces)):
            self.report(f"writing the language model in {name}")
            graph, inputs = language_graph(
                self.decoder,
                name,
                head=self.head,
                adapted=language,
                query_layers=layers,
                layers=layers,
            )
            graph.save(self.folder / piece_file(f"lm.{name}.onnx", number))
            if name == "fp32":
                self.inputs.join(inputs)
        for name, number in product(("fp32", "int8"), range(1, len(pieces))):
            cut = pieces[number].start
            graph = self.decoder.build_look(cut, LANGUAGE_KINDS[name], adapted=language)
            graph.save(self.folder / look_file(name, number))
        for name, kind in HEAD_KINDS.items():
            graph, inputs = self.decoder.build_head(self.head, kind, adapted=language)
            graph.save(self.folder / f"head.{name}.onnx")
        self.inputs.join(inputs)

    def _precisions(self, tower: str) -> dict[str, Precision]:
        """int4 reads the prompt with the int8 graph: it is faster there, and rounds less."""

        def made(tower: str, lm: str, head: str, prefill: str | None = None) -> Precision:
            cuts = range(1, len(self.cuts) + 1)
            behind = tuple(piece_file(lm, number) for number in cuts)
            read = tuple(piece_file(prefill, number) for number in cuts) if prefill else ()
            files = {tower, "projector.onnx", lm, head, *behind, *read}
            files |= {prefill} if prefill else set()
            kind = "fp32" if "fp32" in lm else "int8"
            # Weights of large graphs lie beside them.
            beside = [path for name in files for path in self.folder.glob(f"{name}*")]
            return Precision(
                tower=tower,
                projector="projector.onnx",
                lm=lm,
                prefill=prefill,
                head=head,
                num_bytes=sum(path.stat().st_size for path in beside),
                behind=behind,
                prefill_behind=read,
                looks=tuple(look_file(kind, number) for number in cuts),
            )

        return {
            "fp32": made("tower.fp32.onnx", "lm.fp32.onnx", "head.fp32.onnx"),
            "int8": made(tower, "lm.int8.onnx", "head.int8.onnx"),
            "int4": made(tower, "lm.int4.onnx", "head.int4.onnx", prefill="lm.int8.onnx"),
        }

    def _shapes(self) -> ModelTable:
        decoder, model = self.decoder, self.model
        return ModelTable(
            num_visual_tokens=model.num_tokens,
            tower_width=self.own.tower_width(model),
            width=decoder.width,
            vocabulary=model.vocab_size,
            num_layers=decoder.num_layers,
            num_heads=decoder.num_heads,
            num_key_heads=decoder.num_key_heads,
            head_width=decoder.head_width,
            max_positions=decoder.max_positions,
            query_layers=tuple(range(decoder.num_layers)),
            max_new_tokens=self.pair.max_new_tokens,
            cuts=self.cuts,
            num_deep=decoder.num_deep,
        )

    def _sources(self) -> list[Path]:
        place = self.pair.student_dir
        names = ("config.json", "generation_config.json", "preprocessor_config.json")
        return [
            self.pair.file,
            *weight_files(place),
            *(p for n in names if (p := place / n).is_file()),
        ]

    # -- checks -----------------------------------------------------------------------------------

    def _check(
        self, precisions: dict[str, Precision], shapes: ModelTable
    ) -> tuple[float, dict[str, float]]:
        """Error of fp32 on two random rows, and each precision's agreement on the probe set."""
        self.report("comparing with the twin")
        error = logit_error(
            ExportedLm(self.folder, precisions["fp32"], shapes), self.model, self._random_rows()
        )
        if error > MAX_LOGIT_ERROR:
            raise PairError(
                f"{self.pair.name}: the fp32 graphs give other logits than the student (by "
                f"{error:.2g} of the largest); report this pair's language model"
            )
        exact = [self._row(self.model.encode([item.image]), item.question) for item in self.probe]
        twin = [self.model.generate(batch, self.pair.max_new_tokens).tokens[0] for batch in exact]
        agreement = {}
        for name, precision in precisions.items():
            if not self.probe:
                break
            exported = ExportedLm(self.folder, precision, shapes)
            rows = exact if precision.tower == "tower.fp32.onnx" else self._rows(precision.tower)
            same = [
                exported.answers(self.model, batch, ids)
                for batch, ids in zip(rows, twin, strict=True)
            ]
            agreement[name] = float(np.mean(same))
        return error, agreement

    def _rows(self, tower: str) -> list[LmBatch]:
        pixels = np.stack([pixels_of(item.image, self.image) for item in self.probe])
        tokens = torch.from_numpy(tokens_of(self.folder / tower, pixels))
        return [
            self._row(one[None], item.question)
            for one, item in zip(tokens, self.probe, strict=True)
        ]

    def _answer(self, item: ProbeItem) -> None:
        batch = self._row(self.model.encode([item.image]), item.question)
        self.model.generate(batch, self.pair.max_new_tokens)

    def _row(self, tokens: torch.Tensor, question: str) -> LmBatch:
        positions = torch.arange(self.model.num_tokens)[None]
        return self.model.batch(self.model.project(tokens), positions, [question])

    def _random_rows(self) -> LmBatch:
        """Two rows of unlike length, with half of the visual tokens: padding and gaps."""
        rng, model = np.random.default_rng(0), self.model
        kept = np.sort(rng.permutation(model.num_tokens)[: max(1, model.num_tokens // 2)])
        tokens = model.encode(random_pictures(self.image.num_frames))[:, torch.from_numpy(kept)]
        positions = torch.from_numpy(kept)[None].expand(2, -1)
        questions = ["what is it?", "what is there to be seen, and of which colour is it?"]
        return model.batch(model.project(tokens), positions, questions)
