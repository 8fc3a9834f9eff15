"""What a checkpoint is, from its config, tokenizer and safetensors headers; no weights are read.

Sizes come from the tensors' shapes: a config may leave out what equals its class's defaults.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftline_shared.errors import PairError
from driftline_shared.models.vocabulary.vocabulary import optional_table, read_vocabulary
from driftline_shared.pair.digest import is_tower
from driftline_shared.pair.families import Anatomy, anatomy_of, read_config
from driftline_shared.pair.pair import AdapterSpec, Canvas
from driftline_shared.pair.plain import check_plain
from driftline_shared.pair.weights import Header, headers
from driftline_shared.tokens import Grid

PARTS = ("tower", "projector", "language")

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_NOT_LINEAR = ("embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageShape:
    """The language model in numbers.

    `kv_width`: channels of a layer's keys (values have as many). `rows`: rows of the embedding,
    padded mostly; `num_tokens`: tokens that the tokenizer knows. `quantized`, `quantized_rows`:
    weights, and output rows, of the linear layers that quantization touches.
    """

    num_layers: int
    width: int
    inner_width: int
    kv_width: int
    rows: int
    num_tokens: int
    quantized: int
    quantized_rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterPlan:
    """Where an adapter attaches. `modules`: of linear layers; `missing`: targets that match none,
    each with the nearest names there are.
    """

    modules: tuple[str, ...]
    num_norms: int
    num_parameters: int
    num_tensors: int
    missing: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """A checkpoint. `parameters`: of each of `PARTS`; `stored`: type -> how many values are stored
    in it; `token_width`: channels of a visual token; `grid` None: not known without torch.
    """

    dir: Path
    family: str
    tower: str
    parameters: dict[str, int]
    stored: dict[str, int]
    token_width: int
    language_model: str
    language: LanguageShape
    adapter: AdapterPlan
    grid: Grid | None
    chat_template: bool

    @property
    def num_parameters(self) -> int:
        return sum(self.parameters.values())


def inspect_checkpoint(
    model_dir: Path,
    *,
    adapter: AdapterSpec | None = None,
    canvas: Canvas | None = None,
    with_grid: bool = True,
) -> Inspection:
    """Read configs and headers of a checkpoint folder.

    `adapter` None: one with the family's own targets. `canvas` None: the family's own size. Raises
    PairError for a family that is not known and files that cannot be read.
    """
    config, parts, found = read_config(model_dir), anatomy_of(model_dir), headers(model_dir)
    check_plain(model_dir)
    parameters, stored = dict.fromkeys(PARTS, 0), dict[str, int]()
    for name, header in found.items():
        parameters[part_of(name, parts)] += header.num_values
        stored[header.dtype] = stored.get(header.dtype, 0) + header.num_values
    empty = [part for part in PARTS if not parameters[part]]
    if empty:
        raise PairError(f"{model_dir}: no tensors of {', '.join(empty)}; is the checkpoint whole?")
    spec = adapter or AdapterSpec(query_targets=parts.query_targets)
    return Inspection(
        dir=model_dir,
        family=str(config["model_type"]),
        tower=str((config.get("vision_config") or {}).get("model_type", parts.tower)),
        parameters=parameters,
        stored=stored,
        token_width=_token_width(config, found, parts, canvas),
        language_model=str((config.get("text_config") or {}).get("model_type", "unknown")),
        language=_language(found, parts, model_dir),
        adapter=plan_adapter(found, parts, spec),
        grid=grid_of(model_dir, canvas) if with_grid else None,
        chat_template=(model_dir / "chat_template.jinja").is_file()
        or (model_dir / "chat_template.json").is_file()
        or "chat_template" in optional_table(model_dir / "tokenizer_config.json"),
    )


def part_of(name: str, parts: Anatomy) -> str:
    """The part that a tensor belongs to: learned separators count to the projector."""
    place = f".{name}"
    if f".{parts.projector}." in place or name.endswith("image_newline"):
        return "projector"
    if is_tower(name, parts):
        return "tower"
    # What lies below the tower and is not of it: mergers of inner features.
    return "projector" if f".{parts.tower}." in place else "language"


def grid_of(model_dir: Path, canvas: Canvas | None) -> Grid | None:
    """The token grid on `canvas`; None without torch. PairError for a canvas that cannot be."""
    try:
        from driftline_shared.models.fit.grids import token_grid
    except ModuleNotFoundError:
        return None
    return token_grid(model_dir, canvas)


def plan_adapter(found: dict[str, Header], parts: Anatomy, spec: AdapterSpec) -> AdapterPlan:
    """Modules that the adapter would wrap, by the names of their weights."""
    linear = {
        name.removesuffix(".weight"): header.shape
        for name, header in found.items()
        if name.endswith(".weight") and len(header.shape) == 2
    }
    inside = {
        "projector": {n for n in linear if f".{parts.projector}." in f".{n}."},
        "language": {n for n in linear if part_of(n + ".weight", parts) == "language"},
    }
    modules: set[str] = set()
    missing = []
    for part, targets in (("projector", spec.query_targets), ("language", spec.language_targets)):
        for target in targets:
            matching = {n for n in inside[part] if f".{n}".endswith(f".{target}")}
            modules |= matching
            if not matching:
                missing.append((target, _nearest(target, inside[part], parts, part)))
    norms = [
        header.num_values
        for name, header in found.items()
        if spec.norms
        and part_of(name, parts) == "language"
        and name.removesuffix(".weight").endswith("norm")
        and len(header.shape) == 1
    ]
    weights = sum(spec.rank * sum(linear[name]) for name in modules)
    return AdapterPlan(
        modules=tuple(sorted(modules)),
        num_norms=len(norms),
        num_parameters=weights + sum(norms),
        num_tensors=2 * len(modules) + len(norms),
        missing=tuple(missing),
    )


def _nearest(target: str, names: set[str], parts: Anatomy, part: str) -> tuple[str, ...]:
    """Names in that part most like `target`; all of them where none is like it."""
    if part == "projector":
        short = {f".{name}".rpartition(f".{parts.projector}.")[2] for name in names}
    else:
        short = {name.rpartition(".")[2] for name in names if _LAYER.search(name)}
    return tuple(difflib.get_close_matches(target, sorted(short), n=3, cutoff=0.5)) or tuple(
        sorted(short)
    )


def _token_width(
    config: dict[str, Any], found: dict[str, Header], parts: Anatomy, canvas: Canvas | None
) -> int:
    """Channels that the projector's first layer reads, as often as the family lays them together.

    Qwen3-VL carries inner features of the tower beside the last ones; a clip of LLaVA-OneVision
    carries the four patches that pooling mixes, and where they lie.
    """
    ending = f".{parts.projector}.{parts.query_targets[0]}.weight"
    widths = [h.shape[1] for n, h in found.items() if f".{n}".endswith(ending) and len(h.shape) > 1]
    if not widths:
        raise PairError(f"no tensor {ending[1:]}; the projector is of another make")
    inner = (config.get("vision_config") or {}).get("deepstack_visual_indexes") or ()
    clip = config["model_type"] == "llava_onevision" and canvas is not None and canvas.frames > 1
    width = int(widths[0]) * (1 + len(inner))
    return 4 * width + 2 if clip else width


def _language(found: dict[str, Header], parts: Anatomy, model_dir: Path) -> LanguageShape:
    language = {n: h.shape for n, h in found.items() if part_of(n, parts) == "language"}

    def shape(ending: str) -> tuple[int, ...]:
        for name, one in language.items():
            if name.endswith(ending) and len(one) == 2:
                return one
        raise PairError(f"{model_dir}: no tensor {ending} in the language model")

    rows, width = shape("embed_tokens.weight")
    quantized = [
        one
        for name, one in language.items()
        if len(one) == 2 and name.endswith(".weight") and not name.endswith(_NOT_LINEAR)
    ]
    layers = {int(match[1]) for name in language if (match := _LAYER.search(name))}
    return LanguageShape(
        num_layers=len(layers),
        width=width,
        inner_width=shape("up_proj.weight")[0],
        kv_width=shape("k_proj.weight")[0],
        rows=rows,
        num_tokens=read_vocabulary(model_dir).num_tokens,
        quantized=sum(one[0] * one[1] for one in quantized),
        quantized_rows=sum(one[0] for one in quantized),
    )
