"""Water-filling: one threshold for all tensors, never more than the share, monotone in it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.release.selection import importance_of, select_share


def importances(seed: int, num_tensors: int, size: int, ties: bool) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {}
    for index in range(num_tensors):
        array = rng.lognormal(rng.normal(), 1, size=(2, size)).astype(np.float32)
        found[f"t{index}"] = np.round(array) if ties else array
    return found


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(1, 300),
    st.floats(0.001, 1),
    st.booleans(),
)
def test_the_share_is_never_exceeded_and_one_threshold_holds(
    seed: int, num_tensors: int, size: int, share: float, ties: bool
) -> None:
    importance = importances(seed, num_tensors, size, ties)
    masks = select_share(importance, share)
    total = num_tensors * 2 * size
    assert masks.keys() == importance.keys()
    assert sum(int(mask.sum()) for mask in masks.values()) <= max(1, round(share * total))
    used = [name for name, mask in masks.items() if mask.any()]
    kept = [float(importance[name][masks[name]].min()) for name in used]
    dropped = [
        float(importance[name][~masks[name]].max()) for name in used if not masks[name].all()
    ]
    assert not kept or not dropped or min(kept) >= max(dropped)


@given(st.integers(0, 2**32 - 1))
def test_large_tensors_are_filled_exactly(seed: int) -> None:
    importance = importances(seed, 3, 2_000, ties=False)
    masks = select_share(importance, 0.25)
    assert sum(int(mask.sum()) for mask in masks.values()) == 3_000


def test_what_is_zero_is_never_chosen() -> None:
    importance = {"a": np.zeros(10, dtype=np.float32), "b": np.eye(1000, dtype=np.float32)[0]}
    masks = select_share(importance, 1.0)
    assert not masks["a"].any()
    assert masks["b"].sum() <= 1
    everywhere = select_share({"a": np.zeros((2, 3), dtype=np.float32)}, 0.5)
    assert not everywhere["a"].any()


def test_a_tensor_that_does_not_pay_for_its_entry_is_left_out() -> None:
    rng = np.random.default_rng(0)
    importance = {
        "large": rng.uniform(1, 2, 20_000).astype(np.float32),
        "tiny": np.full(3, 2.5, dtype=np.float32),
    }
    masks = select_share(importance, 0.1)
    assert masks["large"].sum() == 2_000
    assert not masks["tiny"].any()


def test_importance_is_the_change_times_root_fisher() -> None:
    delta = {"a": np.array([-2.0, 1.0], dtype=np.float32), "b": np.array([1.0], dtype=np.float32)}
    found = importance_of(delta, {"a": np.array([1.0, 3.0], dtype=np.float32)})
    assert found["a"].tolist() == [2.0, 3.0]
    assert found["b"].tolist() == [2.0]  # no estimate: the mean of the others
    assert importance_of(delta, {})["b"].tolist() == [1.0]
