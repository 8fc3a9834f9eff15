"""An export beside the torch runtime of its pair, both behind one compressor, and what must be
equal between them.
"""

from __future__ import annotations

import numpy as np
import pytest

from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Answer, UploadFrom
from driftline_device.runtime.scores import SCORERS
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.pair.pair import Pair
from driftline_shared.program.compressor import CompressorChoice
from tests.fakes.adapters import trained


def both_behind(
    pairs: tuple[Pair, Pair], choice: CompressorChoice, upload_from: UploadFrom
) -> tuple[TorchRuntime, OnnxRuntime]:
    """The pair under torch and its export in fp32, under one trained adapter."""
    twin = TorchRuntime(pairs[0], compressor=choice, upload_from=upload_from)
    ours = OnnxRuntime(pairs[1], precision="fp32", compressor=choice, upload_from=upload_from)
    adapter = trained(OnnxRuntime.adapter(ours), seed=3, step=0.1)
    twin.swap(adapter, 1)
    ours.swap(adapter, 1)
    return twin, ours


def check_same_answer(got: Answer, wanted: Answer) -> None:
    """What was kept, what was said, and how sure the answer is."""
    np.testing.assert_array_equal(got.tokens.positions, wanted.tokens.positions)
    np.testing.assert_allclose(got.tokens.values, wanted.tokens.values, atol=2e-4)
    assert got.step_ids == wanted.step_ids
    assert got.num_prompt_tokens == wanted.num_prompt_tokens
    assert got.scores == pytest.approx(wanted.scores, abs=1e-3)


def check_same_doubts(twin: TorchRuntime, ours: OnnxRuntime, text: str, answer: Answer) -> None:
    """Mutual information of the question `text`, and the scores of tokens by every scorer."""
    got, wanted = (each.mutual_information(text, answer, passes=3, seed=2) for each in (ours, twin))
    assert got == pytest.approx(wanted, rel=1e-2, abs=1e-6)
    for scorer in SCORERS:
        found, expected = (
            each.score_tokens(scorer, text, answer, passes=3, seed=2) for each in (ours, twin)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=5e-5, err_msg=scorer)
