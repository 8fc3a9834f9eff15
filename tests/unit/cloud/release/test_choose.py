"""The dynamic choice: smallest that keeps the gain, within the budget, with few judgements."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from driftline_cloud.release.choose import (
    ChooseSettings,
    Judge,
    Judgement,
    changed_share,
    choose,
    estimate,
    frontier,
)
from driftline_cloud.release.delta import delta, no_residual
from driftline_cloud.release.manifests import Lineage, manifest_of, update_bytes
from driftline_cloud.release.packer import Packed, PackSetting, pack
from driftline_shared.update import Adapter, adapter_digest, adapter_fp16_bytes
from tests.fakes.adapters import LINE, lora_adapter, sqrt_fisher, trained, weighted_error

BASE = lora_adapter(num_layers=8, width=128, rank=8)
TARGET = trained(BASE, 1)
FISHER = sqrt_fisher(BASE)
LINEAGE = Lineage(round_id="r1", num_samples=3, created_unix_s=1_800_000_000)
NAMED = ("linear3", "linear4", "linear8")
STEPS = ("steps",)
WHOLE = weighted_error(TARGET, BASE, FISHER)


def score(adapter: Adapter) -> float:
    """1 at the target, 0 at the base, as a gate's score near its optimum."""
    return 1.0 - weighted_error(TARGET, adapter, FISHER) / WHOLE


def cost(packed: Packed) -> int:
    return update_bytes(manifest_of(packed, LINE, LINEAGE, base_version=0, target_version=1))


def by_score(
    score: Callable[[Adapter], float], *, base_score: float, target_score: float, epsilon: float
) -> Judge:
    """Judges by a score (higher is better): at most `epsilon` of the gain of T over C_v may go."""
    gain = target_score - base_score

    def judge(adapter: Adapter) -> Judgement:
        reached = score(adapter)
        kept = (reached - base_score) / gain if gain > 0 else float(reached >= target_score)
        good = bool(kept >= 1.0 - epsilon)
        return Judgement(passes=True, good_enough=good, kept_gain=float(kept))

    return judge


def judge(epsilon: float) -> Judge:
    return by_score(score, base_score=0.0, target_score=1.0, epsilon=epsilon)


@pytest.mark.parametrize(
    ("quantizers", "epsilon"),
    [(NAMED, 0.15), (NAMED, 0.25), (NAMED, 0.45), (STEPS, 0.25), (STEPS, 0.45)],
)
def test_the_smallest_good_enough_within_the_budget_is_found(
    quantizers: tuple[str, ...], epsilon: float
) -> None:
    settings = ChooseSettings(epsilon=epsilon, least_share=0.0, quantizers=quantizers)
    choice = choose(BASE, TARGET, {}, FISHER, judge=judge(epsilon), cost=cost, settings=settings)
    assert choice.good_enough
    assert choice.kept_gain == pytest.approx(score(choice.packed.adapter))
    assert choice.kept_gain >= 1 - epsilon
    assert choice.num_bytes == cost(choice.packed) <= 0.10 * adapter_fp16_bytes(BASE)
    assert choice.num_judged <= 6
    # No setting of the grid that is clearly smaller would have done.
    for share in settings.shares:
        for quantizer in settings.quantizers:
            other = pack(BASE, TARGET, {}, FISHER, PackSetting(share=share, quantizer=quantizer))
            if cost(other) < 0.85 * choice.num_bytes:
                assert score(other.adapter) < 1 - epsilon


def test_when_none_is_good_enough_the_best_within_the_budget_comes_back() -> None:
    settings = ChooseSettings(epsilon=0.0001, max_fp16_share=0.05)
    choice = choose(BASE, TARGET, {}, FISHER, judge=judge(0.0001), cost=cost, settings=settings)
    assert not choice.good_enough
    assert choice.num_bytes <= choice.budget_bytes == int(0.05 * adapter_fp16_bytes(BASE))
    assert choice.kept_gain > 0.5


def test_a_smaller_budget_never_gives_a_larger_update() -> None:
    sizes = []
    for share in (0.03, 0.06, 0.1, 0.3, 1.0):
        settings = ChooseSettings(epsilon=0.02, max_fp16_share=share)
        choice = choose(BASE, TARGET, {}, FISHER, judge=judge(0.02), cost=cost, settings=settings)
        assert choice.num_bytes <= choice.budget_bytes
        sizes.append(choice.num_bytes)
    assert sizes == sorted(sizes)


def test_small_shares_are_for_budgets_that_hold_no_other() -> None:
    def share_of(budget: float) -> float:
        settings = ChooseSettings(epsilon=0.45, max_fp16_share=budget)
        easy = by_score(score, base_score=0.0, target_score=1.0, epsilon=0.99)
        choice = choose(BASE, TARGET, {}, FISHER, judge=easy, cost=cost, settings=settings)
        return float(choice.packed.label.partition("%")[0]) / 100

    assert share_of(0.10) >= 0.10
    assert share_of(0.03) < 0.10


def sparse(share: float) -> Adapter:
    """A target that `share` of the weights was trained for."""
    rng = np.random.default_rng(3)
    return {
        name: np.where(rng.random(array.shape) < share, TARGET[name], array)
        for name, array in BASE.items()
    }


EASY = by_score(score, base_score=0.0, target_score=1.0, epsilon=0.99)


@pytest.mark.parametrize("owed", [False, True], ids=["first", "with much left of earlier rounds"])
def test_a_round_that_trains_few_weights_has_no_least_share(owed: bool) -> None:
    few = sparse(0.03)
    assert 0.02 < changed_share(BASE, few) < 0.05
    residual = {name: 1e-3 * (TARGET[name] - BASE[name]) for name in BASE} if owed else {}
    choice = choose(BASE, few, residual, FISHER, judge=EASY, cost=cost, settings=ChooseSettings())
    assert choice.packed.label.startswith("1%")


@pytest.mark.parametrize("share", [0.004, 0.01, 0.03, 0.04, 0.05, 0.06, 0.08])
@pytest.mark.parametrize("least_share", [0.0, 0.10, 1.0])
def test_the_choice_is_within_the_budget(share: float, least_share: float) -> None:
    """Whatever the estimates say: a smaller one that fits is taken instead."""
    settings = ChooseSettings(max_fp16_share=share, least_share=least_share)
    choice = choose(BASE, TARGET, {}, FISHER, judge=EASY, cost=cost, settings=settings)
    smallest = cost(pack(BASE, TARGET, {}, FISHER, PackSetting(share=0.01, quantizer="steps")))
    if smallest <= choice.budget_bytes:
        assert choice.passes and choice.num_bytes <= choice.budget_bytes
    else:
        assert not choice.passes and choice.num_judged == 0, "nothing fits, and that is told"
        assert choice.num_bytes == smallest


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 1.0)])
def test_where_only_large_updates_are_allowed_none_is_smuggled_in(
    shares: tuple[float, ...],
) -> None:
    settings = ChooseSettings(shares=shares)
    choice = choose(BASE, TARGET, {}, FISHER, judge=EASY, cost=cost, settings=settings)
    assert choice.passes == (choice.num_bytes <= choice.budget_bytes)


def test_the_smallest_is_found_although_a_larger_one_seems_spoilt() -> None:
    judged: list[float] = []
    easy = by_score(score, base_score=0.0, target_score=1.0, epsilon=0.99)

    def moody(adapter: Adapter) -> Judgement:
        """Finds everything good but the second setting that it sees: too few held-out samples."""
        judged.append(score(adapter))
        return replace(easy(adapter), good_enough=len(judged) != 2)

    settings = ChooseSettings(max_fp16_share=0.5, shares=(0.1, 0.12, 0.15, 0.25, 0.35))
    choice = choose(BASE, TARGET, {}, FISHER, judge=moody, cost=cost, settings=settings)
    assert choice.good_enough and choice.packed.label.startswith("10%")
    assert choice.num_judged == len(judged) == 1


@pytest.mark.parametrize(
    ("least_good", "found", "num_judged"), [(0.12, "12%", 4), (0.35, "35%", 4), (2.0, None, 2)]
)
def test_where_the_smallest_does_not_do_the_others_are_searched_and_counted(
    least_good: float, found: str | None, num_judged: int
) -> None:
    def share_of(adapter: Adapter) -> float:
        changed = sum(int((adapter[name] != BASE[name]).sum()) for name in BASE)
        return changed / sum(array.size for array in BASE.values())

    def strict(adapter: Adapter) -> Judgement:
        good = share_of(adapter) >= least_good - 0.01
        return Judgement(passes=True, good_enough=good, kept_gain=score(adapter))

    settings = ChooseSettings(max_fp16_share=0.5, shares=(0.1, 0.12, 0.15, 0.25, 0.35))
    choice = choose(BASE, TARGET, {}, FISHER, judge=strict, cost=cost, settings=settings)
    assert choice.good_enough == (found is not None)
    assert found is None or choice.packed.label.startswith(found)
    assert choice.num_judged == num_judged


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [  # (kept gain, passes, good enough) of what is judged: the smallest, the largest, halves
        ([(0.97, True, True)], 0),
        ([(0.76, True, False), (0.80, True, False)], 0),
        ([(0.60, True, False), (0.80, True, False)], 1),
        ([(0.87, False, False), (0.90, True, False)], 1),
        ([(0.50, True, False), (0.90, False, False)], 1),
        ([(0.90, False, False), (0.92, False, False)], 0),
        ([(math.nan, True, False), (math.nan, True, False)], 0),
        ([(math.nan, True, False), (-0.5, True, False)], 1),
        ([(0.97, True, False), (0.96, True, True), (0.96, True, True)], 2),
    ],
)
def test_where_none_is_good_the_smallest_near_the_best_is_taken_if_it_passes(
    rows: list[tuple[float, bool, bool]], chosen: int
) -> None:
    coded: list[Adapter] = []

    def scripted(adapter: Adapter) -> Judgement:
        coded.append(adapter)
        gain, passes, good = rows[len(coded) - 1]
        return Judgement(passes=passes, good_enough=good, kept_gain=gain)

    settings = ChooseSettings(max_fp16_share=0.5, shares=(0.1, 0.12, 0.35))
    choice = choose(BASE, TARGET, {}, FISHER, judge=scripted, cost=cost, settings=settings)
    assert choice.num_judged == len(coded) == len(rows)
    assert adapter_digest(choice.packed.adapter) == adapter_digest(coded[chosen])


def test_a_residual_that_does_harm_is_left_out() -> None:
    rng = np.random.default_rng(0)
    residual = {
        name: (rng.normal(size=array.shape) * 0.02).astype(np.float32)
        for name, array in BASE.items()
    }
    choice = choose(
        BASE, TARGET, residual, FISHER, judge=judge(0.2), cost=cost, settings=ChooseSettings()
    )
    assert choice.good_enough


def test_estimates_are_near_the_truth_and_the_frontier_falls() -> None:
    settings = ChooseSettings(quantizers=NAMED)
    wanted = delta(BASE, TARGET, no_residual(BASE))
    estimates = estimate(wanted, FISHER, settings)
    assert len(estimates) == len(settings.shares) * len(settings.quantizers)
    for item in estimates[::5]:
        packed = pack(BASE, TARGET, {}, FISHER, item.setting)
        assert cost(packed) == pytest.approx(item.num_bytes, rel=0.35, abs=400)
        assert 1 - score(packed.adapter) == pytest.approx(item.loss, abs=0.12)
    kept = frontier(estimates)
    assert [item.num_bytes for item in kept] == sorted(item.num_bytes for item in kept)
    assert [item.loss for item in kept] == sorted((item.loss for item in kept), reverse=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantizers": ()}, "the quantizers are steps"),
        ({"quantizers": ("steps", "foo")}, "foo; the quantizers are steps"),
        ({"shares": ()}, "1 to 64 shares"),
        ({"shares": (0.1, float("nan"))}, "finite number"),
        ({"shares": (0.1, -1.0)}, "above 0"),
        ({"block": 0}, "greater than or equal to 1"),
        ({"feedback": float("nan")}, "feedback"),
    ],
)
def test_what_could_not_be_packed_with_is_refused_before_a_round(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ChooseSettings(**values)  # type: ignore[arg-type]


def test_steps_are_searched_as_well() -> None:
    settings = ChooseSettings(quantizers=("steps",), shares=(0.05, 0.1, 0.2, 0.35, 1.0))
    estimates = estimate(delta(BASE, TARGET, {}), FISHER, settings)
    for item in estimates:
        packed = pack(BASE, TARGET, {}, FISHER, item.setting)
        # They were fitted to real changes, where rows and columns say more than here.
        assert 0.75 < item.num_bytes / cost(packed) < 1.2
    assert frontier(estimates) == estimates, "more weights cost more and lose less"
    choice = choose(BASE, TARGET, {}, FISHER, judge=judge(0.5), cost=cost, settings=settings)
    assert choice.good_enough and choice.packed.label.endswith("steps")


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    choose(
        BASE, TARGET, {}, FISHER, judge=judge(0.2), cost=cost, settings=ChooseSettings(),
        progress=seen.append,
    )  # fmt: skip
    assert seen == sorted(seen) and seen[-1] == 1.0 and 0 <= seen[0] < 1
