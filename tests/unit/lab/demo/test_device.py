"""What the demo scores is the device that it ran: its runtime, compressor and version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from driftline_device.cli.run import app
from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_device.updates.slots import Loaded
from driftline_lab.demo.device import prepare_device
from driftline_lab.demo.evaluate import TestSet, accuracy, device_answers
from driftline_lab.demo.options import DemoOptions
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.tokens import Grid, VisualTokens
from tests.fakes.tiny_pair import make_tiny_pair

TOKENS = VisualTokens(
    values=np.zeros((1, 1), dtype=np.float32),
    positions=np.zeros(1, dtype=np.int32),
    grid=Grid(rows=1, cols=1),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(make_tiny_pair(tmp_path_factory.mktemp("pair"), quantization="none"))


def options(pair: Pair, state: Path, *settings: str) -> DemoOptions:
    return DemoOptions(pair=str(pair.dir), state=state, device_settings=settings)


def answers(text: str) -> Any:
    def answer(_: object, questions: Sequence[Question], **__: object) -> list[Answer]:
        return [Answer(text=text, tokens=TOKENS, num_steps=1, version=0) for _ in questions]

    return answer


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_runtime_that_the_device_runs_is_scored(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setattr(OnnxRuntime, "answer", answers("onnx"))
    monkeypatch.setattr(TorchRuntime, "answer", answers("torch"))
    row = Question(
        image=np.zeros((32, 32, 3), dtype=np.uint8),
        text="who answers?",
        truth=runtime,
        place="row 1",
    )
    test = TestSet(domain="source", rows=[row])
    device = prepare_device(options(pair, tmp_path, f"runtime={runtime}"), pair)
    found = device_answers(device.runtime(None), [test], lambda _: None)
    assert accuracy(test, found["source"]) == 1.0


def test_the_version_that_the_device_ended_with_is_scored(pair: Pair, tmp_path: Path) -> None:
    device = prepare_device(options(pair, tmp_path), pair)
    changed = {name: array + 0.25 for name, array in device.runtime(None).adapter().items()}
    assert device.version_in_force() is None
    runtime = device.runtime(Loaded(slot="a", version=3, adapter=changed))
    assert runtime.version == 3
    for name, array in runtime.adapter().items():
        np.testing.assert_array_equal(array, changed[name])


def test_the_devices_process_reads_the_settings_that_are_scored(pair: Pair, tmp_path: Path) -> None:
    device = prepare_device(options(pair, tmp_path, "compressor=fastv", "batch_size=3"), pair)
    printed = CliRunner().invoke(app, ["run", *device.arguments, "--print-config"])
    assert printed.stdout.strip() == device.config.model_dump_json(indent=2)
    assert (device.config.compressor, device.config.batch_size) == ("fastv", 3)


def test_an_export_is_cut_for_the_devices_compressor(pair: Pair, tmp_path: Path) -> None:
    asked = ("runtime=onnx", "compressor=fastv", "compressor_options.layer=1")
    found = prepare_device(options(pair, tmp_path, *asked), pair)
    assert found.pair.exported is not None and found.pair.exported.model.cuts == (1,)
    assert found.runtime(None).adapter()


def test_settings_that_no_device_runs_with_are_refused(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compressor"):
        prepare_device(options(pair, tmp_path, "runtime=onnx", "compressor=mod"), pair)
    with pytest.raises(ConfigError, match="nor an export of it"):
        prepare_device(options(pair, tmp_path, "pair=tiny"), pair)
    with pytest.raises(ConfigError, match="no_such_setting"):
        prepare_device(options(pair, tmp_path, "no_such_setting=1"), pair)
