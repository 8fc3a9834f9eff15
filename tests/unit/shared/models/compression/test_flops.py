"""FLOPs and cache bytes: against published and computed numbers, and against torch's counter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from driftline_shared.models.compression import flops
from driftline_shared.models.compression.compressor import LayerCount, ModelFacts
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import sizes_of, some_facts

TEXT, VISUAL = 95, 576


def _facts(**changes: int) -> ModelFacts:
    """LLaMA-7B."""
    heads = {"num_layers": 32, "num_heads": 32, "num_key_heads": 32, "head_width": 128}
    widths = {"width": 4096, "inner": 11_008, "vocabulary": 32_000, "tower_width": 1024}
    return some_facts(Grid(rows=24, cols=24), **heads | widths | changes)


def _layers(counts: Sequence[int]) -> list[LayerCount]:
    return [LayerCount(queries=n, keys=n, cached=n, read=n) for n in counts]


def _share(visual: Sequence[int]) -> float:
    """Of the prefill of all 576 tokens, without the head."""
    facts = _facts()
    some, full = (
        flops.prefill_flops(facts, _layers([TEXT + n for n in counts]), places=0)
        for counts in (visual, [VISUAL] * 32)
    )
    return 100 * some / full


def test_a_layer_and_all_layers_of_llama_7b() -> None:
    facts, places = _facts(), TEXT + VISUAL
    assert flops.layer_flops(facts, places, places) / 1e9 == pytest.approx(278.96, abs=0.005)
    whole = flops.prefill_flops(facts, flops.whole(facts, places), places=0)
    assert whole / 1e12 == pytest.approx(8.927, abs=0.0005)
    assert whole / 2 / 1e12 == pytest.approx(4.463, abs=0.0005)
    head = flops.prefill_flops(facts, flops.whole(facts, places)) - whole
    assert head == 2 * 4096 * 32_000


def test_a_decoding_step_of_llama_7b() -> None:
    facts = _facts()
    layers = 32 * flops.layer_flops(facts, 1, 700)
    assert layers / 1e9 == pytest.approx(13.32, abs=0.005)
    for step, cached in ((0, 700), (100, 600)):
        found = flops.decode_flops(facts, flops.whole(facts, cached), step)
        assert found == layers + flops.head_flops(facts)


def _sparsevlm(*kept: int) -> list[int]:
    """Counts enter a layer; a tenth of 30 % of the deleted tokens comes back, merged."""
    entering, counts = VISUAL, []
    for layer in range(32):
        counts.append(entering)
        if layer in (2, 6, 15):
            stay = kept[(2, 6, 15).index(layer)]
            entering = stay + (int(0.3 * (entering - stay)) + 1) // 10 + 1
    return counts


@pytest.mark.parametrize(
    ("visual", "percent"),
    [
        ([576] * 2 + [288] * 30, 59.2),  # FastV: K = 2, half
        ([576] * 3 + [288] * 29, 60.5),  # K = 3, half
        ([576] * 2 + [144] * 30, 39.1),  # K = 2, a quarter
        ([576] * 15 + [0] * 17, 54.2),  # VTW
        ([576] * 20 + [0] * 12, 67.7),
        ([576] * 26 + [0] * 6, 83.8),
        (_sparsevlm(300, 200, 110), 44.4),  # 192 tokens
        (_sparsevlm(303, 110, 36), 35.4),  # 128
        (_sparsevlm(238, 48, 26), 30.8),  # 96
        (_sparsevlm(66, 30, 17), 26.1),  # 64
    ],
)
def test_shares_that_stay_with_the_published_cuts(visual: Sequence[int], percent: float) -> None:
    assert _share(visual) == pytest.approx(percent, abs=0.05)


def test_the_cache_of_576_tokens_in_half_precision() -> None:
    found = flops.cache_bytes(_facts(), [VISUAL] * 32, value_bytes=2)
    assert found == 288 * 2**20
    assert found / 1e6 == pytest.approx(302, abs=0.05)


def test_the_published_number_of_dycoke_in_its_own_convention() -> None:
    """The authors leave out the third feed-forward matrix and grouped heads, and halve FLOPs.

    From our own counts: what they leave out is given back, and the halves are taken.
    """
    d, m, depth, n, answer = 3584, 18_944, 28, 32 * 196, 100
    facts = _facts(
        num_layers=depth, num_heads=28, num_key_heads=28, head_width=128, width=d, inner=m
    )
    prefill = flops.prefill_flops(facts, flops.whole(facts, n), places=0) // 2
    steps = sum(
        flops.decode_flops(facts, flops.whole(facts, n), step) - flops.head_flops(facts)
        for step in range(1, answer + 1)
    )
    third = depth * d * m
    published = prefill - n * third + steps // 2 - answer * third
    assert published / 1e12 == pytest.approx(41.42, abs=0.01)


def test_a_first_pass_is_counted_apart() -> None:
    facts, kept = _facts(), 1
    second = [LayerCount(queries=TEXT, keys=TEXT + kept, cached=TEXT + kept, read=TEXT + kept)] * 32
    cost = flops.cost(facts, second, prefix=1 + VISUAL + kept, value_bytes=2)
    assert cost.prefix == 32 * flops.layer_flops(facts, 578, 578)
    assert cost.prefill == 32 * flops.layer_flops(facts, 95, 96) + flops.head_flops(facts)
    assert cost.stored == cost.read == 32 * 2 * 96 * 4096 * 2


def test_what_is_stored_and_what_is_read_are_two_things() -> None:
    facts = _facts(num_layers=2)
    half = LayerCount(queries=10, keys=10, cached=10, read=4)
    cost = flops.cost(facts, [*_layers([10]), half], value_bytes=4)
    assert (cost.stored, cost.read) == (2 * 20 * 4096 * 4, 2 * 14 * 4096 * 4)
    assert cost.decode == flops.layer_flops(facts, 1, 11) + flops.layer_flops(
        facts, 1, 5
    ) + flops.head_flops(facts)


def _added(name: str, layers: Sequence[LayerCount], facts: ModelFacts, **options: Any) -> int:
    method = configured(name, options, facts).row()
    found = method.overhead_flops(layers, num_text=95, num_visual=576)
    assert found is not None
    return found


def test_what_methods_add() -> None:
    facts, cut = _facts(), _layers([671, 671] + [383] * 30)
    assert _added("fastv", cut, facts) == 2 * 671 * 4096
    assert _added("fastv", cut, facts, criterion="all") == 2 * 671 * 671 * 4096
    assert _added("dycoke", cut, facts) == 4.5 * 576 * 4096
    assert _added("vidcom2", cut, facts) == 5 * 576 * 4096
    # 288 places fewer: 297 deleted, 90 recycled, 9 centres.
    clusters = 90 * (3 * 90 - 1) * 2 * 4096
    raters, rows = 2 * 95 * 576 * 4096, 2 * 95 * 671 * 4096
    assert _added("sparsevlm", cut, facts) == raters + rows + clusters
    assert _added("sparsevlm", cut, facts, recycle="off") == raters + rows
    assert _added("sparsevlm", cut, facts, recycle="off", counts="rank") == (
        raters + rows + 95 * 576 * 95
    )
    # 144 of 576 tokens of 1,024 channels: the class token's row, cosines, 32 neighbours, the rest.
    short = _layers([95 + 144] * 32)
    tower = 2 * 1024 * (576 + 144 * 576 + 144 * 32 + 576)
    assert _added("prumerge", short, facts, keep=0.25) == tower
    assert configured("vtw", {}, facts).row().overhead_flops(cut, 95, 576) is None


def test_tome_matches_in_each_block_or_in_rounds() -> None:
    facts = replace(_facts(), tower_blocks=2, tower_heads=16)
    short = _layers([95 + 288] * 32)
    # 576 in the first block, 432 in the second, heads of 64 channels.
    blocks = 2 * 64 * (288 * 288 + 216 * 216)
    assert _added("tome", short, facts, keep=0.5) == blocks
    # Before the projector on whole tokens: 576 -> 288 -> 144.
    rounds = 2 * 1024 * (288 * 288 + 144 * 144)
    assert _added("tome", short, facts, keep=0.25, where="projector") == rounds


def test_raters_are_counted_as_torch_counts_them() -> None:
    """60 text tokens; the published formula is of FLOPs, a multiply-accumulate being two."""
    counter = FlopCounterMode(display=False)
    with counter:
        torch.empty(576, 4096) @ torch.empty(60, 4096).T
    assert counter.get_total_flops() == 283_115_520
    method = configured("sparsevlm", {"keep": 1.0}, _facts()).row()
    whole = flops.whole(_facts(), 636)
    assert method.overhead_flops(whole, num_text=60, num_visual=576) == 283_115_520


# -- against torch's own counter -----------------------------------------------------------------

SMALL = some_facts(
    Grid(rows=24, cols=24),
    num_layers=3,
    num_heads=6,
    head_width=16,
    width=96,
    inner=160,
    vocabulary=128,
)


def _net(kind: str) -> Any:
    torch.manual_seed(0)
    sizes = sizes_of(SMALL)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**sizes, attn_implementation="sdpa")).eval()
    return Qwen2ForCausalLM(Qwen2Config(**sizes, attn_implementation="sdpa")).eval()


def _counted(net: Any, ids: torch.Tensor, **more: Any) -> int:
    """Dense: the counter knows torch's plain attention, not the CPU's fused kernel."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        net(input_ids=ids, logits_to_keep=1, **more)
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("places", [37, 150])
def test_prefill_is_within_a_hundredth_of_torch_s_count(kind: str, places: int) -> None:
    counted = _counted(_net(kind), torch.arange(places)[None] % 128)
    found = flops.prefill_flops(SMALL, flops.whole(SMALL, places))
    assert found == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_decoding_is_within_a_hundredth_of_torch_s_count(kind: str) -> None:
    net = _net(kind)
    cache = DynamicCache(config=net.config)
    _counted(net, torch.arange(50)[None], past_key_values=cache)
    for step in (1, 2):
        counted = _counted(net, torch.tensor([[7]]), past_key_values=cache)
        found = flops.decode_flops(SMALL, flops.whole(SMALL, 50), step)
        assert found == pytest.approx(counted, rel=0.01)
