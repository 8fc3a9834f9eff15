"""`driftline device prepare`: what is checked, asked, chosen and written; what then runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.runtime.factory import make_runtime
from driftline_device.runtime.onnx import prepare as preparing
from driftline_device.runtime.onnx import prepared
from driftline_device.runtime.onnx.prepare import (
    choose,
    disturbances,
    export_folder,
    needed_bytes,
    prepare,
    probe_questions,
)
from driftline_device.runtime.onnx.prepared import PREPARED_FILE, Candidate, read_prepared
from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.pair.pair import Pair, load_pair
from tests.fakes.tiny_export import make_tiny_export

PRECISIONS = ("fp32", "int8", "int4")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    return make_tiny_export(tmp_path_factory.mktemp("both"), quantization="none")


@pytest.fixture
def folder(pairs: tuple[Pair, Pair], tmp_path: Path) -> Path:
    """A copy of the export that a test may change."""
    shutil.copytree(pairs[1].dir, tmp_path / "export")
    return tmp_path / "export"


def quiet(_done: float) -> None:
    """Nobody watches."""


def candidate(precision: str, answer_ms: float, agreement: float) -> Candidate:
    return Candidate(precision=precision, threads=1, answer_ms=answer_ms, agreement=agreement)


def runs(folder: Path) -> str:
    runtime = make_runtime(load_pair(folder))
    assert isinstance(runtime, OnnxRuntime)
    return runtime.precision


def test_the_choice_is_written_and_run(folder: Path) -> None:
    assert runs(folder) == "int8", "what runs unprepared"
    shares: list[float] = []
    report = prepare(folder, threads=[1], num_questions=9, progress=shares.append)
    candidates = {one.precision: one for one in report.prepared.candidates}
    assert set(candidates) == {"fp32", "int8", "int4"}
    assert candidates["fp32"].agreement == 1.0
    assert report.prepared.num_questions == 9
    assert (shares[8], shares[-1]) == pytest.approx((1 / 3, 1.0))
    assert read_prepared(folder, PRECISIONS) == report.prepared
    assert runs(folder) == report.prepared.precision


def test_a_choice_decides_precision_and_threads_unless_settings_do(folder: Path) -> None:
    prepare(folder, threads=[1], num_questions=2, progress=quiet)
    file = folder / PREPARED_FILE
    chosen = json.loads(file.read_text()) | {"precision": "int4"}
    file.write_text(json.dumps(chosen))
    assert runs(folder) == "int4"
    explicit = make_runtime(load_pair(folder), precision="fp32", threads=1)
    assert isinstance(explicit, OnnxRuntime)
    assert explicit.precision == "fp32"


@pytest.mark.parametrize(
    "change",
    [
        lambda found: {**found, "machine": "another"},
        lambda found: {**found, "export": "0" * 64},
        lambda found: {**found, "unknown": 1},
        lambda found: {**found, "precision": "nope"},
        lambda found: {**found, "threads": 1_024},
    ],
    ids=["another machine", "another export", "not ours", "no such graphs", "too many threads"],
)
def test_a_choice_that_does_not_count_here_is_left_out(
    folder: Path, change: Callable[[dict[str, object]], dict[str, object]]
) -> None:
    prepare(folder, threads=[1], num_questions=2, progress=quiet)
    file = folder / PREPARED_FILE
    file.write_text(json.dumps(change({**json.loads(file.read_text()), "precision": "int4"})))
    assert read_prepared(folder, PRECISIONS) is None
    assert runs(folder) == "int8"


def test_another_processor_or_onnxruntime_makes_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = prepared.this_machine()
    for name, value in (
        ("processor_name", lambda: "another"),
        ("num_processors", lambda: 777),
        ("onnxruntime_facts", lambda: ("9.9", ["CPUExecutionProvider"])),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(prepared, name, value)
            assert prepared.this_machine() != here
    assert prepared.this_machine() == here


def test_what_speaks_against_the_times_is_said() -> None:
    alone, crowded = (
        Candidate(precision="fp32", threads=threads, answer_ms=ms, agreement=1.0)
        for threads, ms in ((1, 4.0), (2, 17.0))
    )
    assert list(disturbances(0.05, [alone])) == []
    assert list(disturbances(None, [alone])) == []
    assert "75% of the processors" in next(iter(disturbances(0.75, [alone])))
    (told,) = disturbances(0.0, [alone, crowded])
    assert "17.0 ms on 2 threads and 4.0 ms on fewer" in told


def test_the_fastest_that_agrees_is_chosen() -> None:
    slow, fast = candidate("fp32", 9.0, 1.0), candidate("int8", 3.0, 0.99)
    assert choose([slow, fast, candidate("int4", 1.0, 0.98)]) == fast
    assert choose([slow, candidate("int4", 1.0, 0.98)]) == slow


def test_a_damaged_export_is_refused(folder: Path) -> None:
    graph = bytearray((folder / "lm.int8.onnx").read_bytes())
    graph[-1] ^= 1
    (folder / "lm.int8.onnx").write_bytes(graph)
    with pytest.raises(PairError, match=r"lm\.int8\.onnx.*sha256"):
        prepare(folder, progress=quiet)


def test_what_does_not_fit_into_memory_is_refused_with_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = load_pair(folder).exported
    assert export is not None
    needed = {name: needed_bytes(export, one) for name, one in export.precisions.items()}
    assert min(needed.values()) > 0
    monkeypatch.setattr(preparing, "available_bytes", lambda: needed["fp32"] - 1)
    with pytest.raises(PairError, match=r"needs up to \d+ MiB .* \d+ MiB are free"):
        prepare(folder, progress=quiet)
    assert not (folder / PREPARED_FILE).exists()


def test_deep_inputs_and_cuts_need_memory_of_their_own(folder: Path) -> None:
    export = load_pair(folder).exported
    assert export is not None
    needed = []
    for changes in ({}, {"num_deep": 3}, {"cuts": (1,)}):
        model = export.model.model_copy(update=changes)
        changed = export.model_copy(update={"model": model})
        needed.append(needed_bytes(changed, export.precisions["int8"]))
    plain, deep, cut = needed
    assert (deep - plain) * 2 == (cut - plain) * 3 > 0


def test_questions_are_the_probes_own_then_crossed(folder: Path) -> None:
    pair = load_pair(folder)
    probe = pair.probe_set()
    asked = probe_questions(pair, 200)
    assert [question.text for question in asked[: len(probe)]] == [i.question for i in probe]
    keys = {(question.image.tobytes(), question.text) for question in asked}
    assert len(keys) == len(asked) == len(probe) * len({item.question for item in probe})
    assert len(probe_questions(pair, 2)) == 2


def test_a_pair_is_exported_once(pairs: tuple[Pair, Pair], tmp_path: Path) -> None:
    pair, exported = pairs
    reported: list[str] = []
    out = tmp_path / "made"
    assert export_folder(str(pair.dir), out, reported.append) == out
    before = (out / "export.json").read_bytes()
    assert export_folder(str(pair.dir), out, reported.append) == out
    assert "already" in reported[-1]
    assert (out / "export.json").read_bytes() == before
    assert export_folder(str(exported.dir), None, reported.append) == exported.dir
    with pytest.raises(ConfigError, match="leave out --out"):
        export_folder(str(exported.dir), out, reported.append)


def test_the_command_shows_a_table_or_json(folder: Path) -> None:
    arguments = ["prepare", str(folder), "--threads", "1", "--questions", "3"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "chosen" in shown.stdout
    assert "int4" in shown.stdout
    assert f"run it:  driftline device run --pair {folder} --api-port 8000" in shown.stdout
    done = CliRunner().invoke(app, [*arguments, "--json"])
    document = json.loads(done.stdout)
    assert document["precision"] in ("fp32", "int8", "int4")
    assert document["memory_bytes"]["fp32"]["needed"] > 0


def test_runtimes_are_chosen_by_what_the_pair_is(pairs: tuple[Pair, Pair]) -> None:
    pair, exported = pairs
    assert isinstance(make_runtime(pair), TorchRuntime)
    assert isinstance(make_runtime(exported), OnnxRuntime)
    with pytest.raises(PairError, match="driftline models export"):
        make_runtime(pair, name="onnx")
