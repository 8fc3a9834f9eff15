"""OnnxRuntime beside TorchRuntime on the same weights: prompts, tokens, answers and every score."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from driftline_device.runtime.factory import make_runtime
from driftline_device.runtime.onnx.generation import PromptRead, step_scores
from driftline_device.runtime.onnx.graphs import ActiveAdapter, Graphs, choose_providers
from driftline_device.runtime.onnx.prompts import Batch, Prompts, TableFile
from driftline_device.runtime.onnx.runtime import OnnxRuntime, num_places
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.scores import SCORERS
from driftline_device.runtime.seen import BoundedCache, image_digest
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_shared.errors import ConfigError, DataError, PairError, UpdateError
from driftline_shared.models.families.pictures import on_canvas
from driftline_shared.pair.export_file import load_version_0
from driftline_shared.pair.image_steps import pixels_of
from driftline_shared.pair.image_table import ImageTable
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.update import Adapter
from tests.fakes.tiny_export import make_tiny_export
from tests.fakes.tiny_pair import QUESTIONS, random_image

ASKED = [Question(image=random_image(i), text=QUESTIONS[i % 3]) for i in range(5)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    return make_tiny_export(tmp_path_factory.mktemp("both"))


@pytest.fixture(scope="module")
def twin(pairs: tuple[Pair, Pair]) -> TorchRuntime:
    return TorchRuntime(pairs[0])


@pytest.fixture(scope="module")
def fp32(pairs: tuple[Pair, Pair]) -> OnnxRuntime:
    return OnnxRuntime(pairs[1], precision="fp32")


def moved(adapter: Adapter, amount: float) -> Adapter:
    rng = np.random.default_rng(1)
    return {
        name: (array + amount * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in adapter.items()
    }


@pytest.fixture(scope="module", params=[0.0, 0.3], ids=["version 0", "moved"])
def both(
    request: pytest.FixtureRequest, twin: TorchRuntime, fp32: OnnxRuntime
) -> tuple[TorchRuntime, OnnxRuntime]:
    """Both under one adapter."""
    adapter = moved(OnnxRuntime.adapter(fp32), request.param)
    twin.swap(adapter, 1)
    fp32.swap(adapter, 1)
    return twin, fp32


def test_an_export_is_on_the_line_of_its_pair(pairs: tuple[Pair, Pair]) -> None:
    pair, exported = pairs
    assert exported.base_model == pair.base_model
    assert exported.token_space.digest == pair.token_space.digest
    assert exported.adapter == pair.adapter


def test_version_0_is_the_same_bits(pairs: tuple[Pair, Pair]) -> None:
    ours, theirs = (OnnxRuntime(pairs[1], precision="int4").adapter(), TorchRuntime(pairs[0]))
    wanted = theirs.adapter()
    assert list(ours) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(ours[name], array)


def test_rows_are_those_of_the_family(twin: TorchRuntime, pairs: tuple[Pair, Pair]) -> None:
    _, exported = pairs
    assert exported.exported is not None
    prompts = Prompts(exported.dir, exported.exported)
    family: Any = twin._model
    kept = np.array([[0, 3, 9], [2, 5, 15]])
    asked = [QUESTIONS[0], "is <image> a   circle, or what is it? é"]
    answers = [prompts.answer_ids("teal"), prompts.answer_ids(" not red")]
    assert answers == [family.answer_ids("teal"), family.answer_ids(" not red")]
    width = family.net.config.text_config.hidden_size
    projected = np.random.default_rng(0).standard_normal((2, 3, width)).astype(np.float32)
    ours = prompts.batch(
        [prompts.row(question, places) for question, places in zip(asked, kept, strict=True)],
        projected,
    )
    wanted = family.batch(torch.from_numpy(projected), torch.from_numpy(kept), asked)
    # The family pads on the left, the graphs behind.
    read = wanted.attention_mask.numpy().astype(bool)
    np.testing.assert_array_equal(ours.lengths, read.sum(axis=1))
    for number, question in enumerate(asked):
        row, length = prompts.row(question, kept[number]), ours.lengths[number]
        padding, here = read.shape[1] - length, read[number]
        positions = wanted.position_ids.numpy()[number, here]
        np.testing.assert_array_equal(ours.positions[0, number, :length], positions)
        np.testing.assert_array_equal(row.visual, wanted.visual.numpy()[number] - padding)
        theirs = wanted.words[number].nonzero()[:, 0].numpy() - padding
        assert list(row.words) == theirs.tolist()
        embeds = wanted.inputs_embeds.numpy()[number, here]
        np.testing.assert_allclose(ours.embeds[number, :length], embeds, atol=1e-6)
    forced = prompts.row(asked[0], kept[0], answers[0])
    alone = family.batch(
        torch.from_numpy(projected[:1]), torch.from_numpy(kept[:1]), asked[:1], answers[:1]
    )
    np.testing.assert_array_equal(forced.positions, alone.position_ids.numpy())
    assert prompts.decode(answers[1]) == family.decode(answers[1])


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_rows_of_a_table_are_read_where_they_lie(dtype: str, tmp_path: Path) -> None:
    table = np.arange(35, dtype=dtype).reshape(7, 5)
    file = tmp_path / "table"
    file.write_bytes(b"head" + table.tobytes() + b"tail")
    rows = TableFile(file, table.shape, dtype, begin=4)
    assert len(rows) == 7
    for ids in (np.array([[6, 0, 6], [3, 3, 1]]), np.array([5]), np.empty((2, 0), np.int64)):
        np.testing.assert_array_equal(rows.read(ids), table[ids])


def test_rows_that_a_table_does_not_hold_are_refused(tmp_path: Path) -> None:
    table = np.arange(35, dtype="<f4").reshape(7, 5)
    file = tmp_path / "table"
    file.write_bytes(table.tobytes())
    rows = TableFile(file, table.shape, table.dtype, begin=0)
    for number in (-1, 7):
        with pytest.raises(PairError, match="has 7 rows"):
            rows.read(np.array([0, number]))
    os.truncate(file, 6 * 20 + 3)
    np.testing.assert_array_equal(rows.read(np.array([5])), table[[5]])
    with pytest.raises(PairError, match="copy the export again"):
        rows.read(np.array([6]))


def test_an_int8_tower_reads_a_picture_alike_whatever_came_with_it(
    pairs: tuple[Pair, Pair],
) -> None:
    together, alone = (OnnxRuntime(pairs[1], precision="int8") for _ in range(2))
    for question, answer in zip(ASKED, together.answer(ASKED), strict=True):
        (one,) = alone.answer([question])
        np.testing.assert_array_equal(one.tokens.values, answer.tokens.values)


def test_answers_tokens_and_scores_are_the_twins(
    both: tuple[TorchRuntime, OnnxRuntime],
) -> None:
    torch_answers, ours = (runtime.answer(ASKED) for runtime in both)
    for wanted, got in zip(torch_answers, ours, strict=True):
        assert (got.text, got.step_ids, got.ended) == (wanted.text, wanted.step_ids, wanted.ended)
        assert (got.num_steps, got.num_prompt_tokens) == (
            wanted.num_steps,
            wanted.num_prompt_tokens,
        )
        np.testing.assert_allclose(got.tokens.values, wanted.tokens.values, atol=1e-4)
        assert got.scores == pytest.approx(wanted.scores, abs=1e-4)


def test_stochastic_scores_are_the_twins_mask_by_mask(
    both: tuple[TorchRuntime, OnnxRuntime],
) -> None:
    twin, fp32 = both
    for seed, answer in enumerate(twin.answer(ASKED[:2])):
        asked = ASKED[seed].text
        ours, wanted = (
            runtime.mutual_information(asked, answer, passes=4, seed=seed)
            for runtime in (fp32, twin)
        )
        assert ours == pytest.approx(wanted, rel=1e-2, abs=1e-6)
        for scorer in SCORERS:
            got, expected = (
                runtime.score_tokens(scorer, asked, answer, passes=4, seed=seed)
                for runtime in (fp32, twin)
            )
            np.testing.assert_allclose(got, expected, rtol=5e-3, atol=2e-5, err_msg=scorer)


def test_the_pass_that_answered_is_not_run_again_for_its_look(pairs: tuple[Pair, Pair]) -> None:
    exported = pairs[1]
    for precision in ("fp32", "int4"):
        runtime = OnnxRuntime(exported, precision=precision)
        fresh = OnnxRuntime(exported, precision=precision)
        student = runtime._student

        def score(one: OnnxRuntime, question: Question, answer: Answer) -> Any:
            name = "question_attention"
            return one.score_tokens(name, question.text, answer, passes=1, seed=0)

        first = runtime.answer(ASKED)
        assert not student.keeps_looks
        assert student.looks.num_bytes == 0  # nobody has asked for it
        score(runtime, ASKED[0], first[0])
        # A batch with padding; pictures seen before, and one alone that reads on behind its image.
        for asked in (ASKED, ASKED[:2], ASKED[1:2], ASKED[1:2]):
            answers = runtime.answer(asked)
            assert student.looks.num_bytes > 0
            student.graphs.run = _never  # type: ignore[method-assign]
            student.graphs.run_values = _never  # type: ignore[method-assign]
            kept = [score(runtime, *each) for each in zip(asked, answers, strict=True)]
            del student.graphs.run, student.graphs.run_values
            for each, got in zip(zip(asked, answers, strict=True), kept, strict=True):
                np.testing.assert_allclose(got, score(fresh, *each), rtol=1e-3, atol=1e-5)
        # Another answer to the same words, of other tokens, is another look.
        (other,) = runtime.answer_tokens([answers[0].tokens.keep(np.arange(16))], [asked[0].text])
        student.looks.clear()
        assert score(runtime, asked[0], other).shape == (16,)
        runtime.answer(ASKED[:1])
        assert student.looks.num_bytes > 0
        runtime.swap(runtime.adapter(), 1)
        assert student.looks.num_bytes == 0


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a graph was run")


def test_some_tokens_answer_as_under_torch(both: tuple[TorchRuntime, OnnxRuntime]) -> None:
    twin, fp32 = both
    some = [answer.tokens.keep(np.asarray([1, 5, 9])) for answer in twin.answer(ASKED[:2])]
    asked = [question.text for question in ASKED[:2]]
    wanted, got = (runtime.answer_tokens(some, asked) for runtime in (twin, fp32))
    assert [answer.step_ids for answer in got] == [answer.step_ids for answer in wanted]
    scores = fp32.score_tokens("answer_attribution", asked[0], got[0], passes=1, seed=0)
    expected = twin.score_tokens("answer_attribution", asked[0], wanted[0], passes=1, seed=0)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-6)


def test_a_picture_asked_about_again_is_read_once_and_answered_alike(
    pairs: tuple[Pair, Pair],
) -> None:
    runtime = OnnxRuntime(pairs[1], precision="fp32")
    fresh = OnnxRuntime(pairs[1], precision="fp32", feature_bytes=0, prefix_bytes=0)
    for text in (*QUESTIONS, "is there a circle, or rather something else?"):
        (ours,) = runtime.answer([Question(image=random_image(1), text=text)])
        (wanted,) = fresh.answer([Question(image=random_image(1), text=text)])
        assert ours.step_ids == wanted.step_ids
        assert ours.scores == pytest.approx(wanted.scores, abs=1e-4)
    assert runtime._student.features.num_bytes > 0
    assert runtime._student.prefixes.num_bytes > 0
    assert fresh._student.features.num_bytes == fresh._student.prefixes.num_bytes == 0


def test_questions_about_one_picture_in_one_call_read_it_once(pairs: tuple[Pair, Pair]) -> None:
    runtime = OnnxRuntime(pairs[1], precision="fp32", prefix_bytes=0)
    fresh = OnnxRuntime(pairs[1], precision="fp32", feature_bytes=0, prefix_bytes=0)
    pictures = [random_image(number) for number in (1, 2, 1, 3, 1, 2)]
    asked = [
        Question(image=image, text=QUESTIONS[number % 3]) for number, image in enumerate(pictures)
    ]
    asked.append(replace(asked[0], text="is there a circle, or rather something else?"))
    rows: list[int] = []
    ran: list[tuple[str, int]] = []
    run = runtime._student.graphs.run

    def counted(part: str, feeds: Any, adapter: Any) -> Any:
        ran.append((part, len(next(iter(feeds.values())))))
        return run(part, feeds, adapter)

    runtime._student.graphs.run = counted  # type: ignore[method-assign]
    answers = runtime.answer(asked, on_token=lambda row, _text: rows.append(row))
    assert set(rows) == set(range(len(asked)))
    for ours, question in zip(answers, asked, strict=True):
        (wanted,) = fresh.answer([question])
        assert (ours.text, ours.step_ids) == (wanted.text, wanted.step_ids)
        assert ours.scores == pytest.approx(wanted.scores, abs=1e-4)
    # Three pictures, each read once; seven answers, written together.
    assert [each for each in ran if each[0] != "head"] == [("tower", 3), ("projector", 3)]
    assert {num for part, num in ran if part == "head"} == {7}


def test_a_picture_that_others_are_asked_about_is_kept_at_once(pairs: tuple[Pair, Pair]) -> None:
    runtime = OnnxRuntime(pairs[1], precision="fp32")
    runtime.answer([ASKED[0]])
    assert runtime._student.prefixes.num_bytes == 0
    runtime.answer([replace(ASKED[1], shared=True)])
    assert runtime._student.prefixes.num_bytes > 0


def test_a_swap_leaves_no_cached_prompt_of_the_old_version(pairs: tuple[Pair, Pair]) -> None:
    runtime = OnnxRuntime(pairs[1], precision="fp32")
    for _ in range(3):  # the third time from the cache
        runtime.answer(ASKED[:1])
    adapter = moved(runtime.adapter(), 0.5)
    assert runtime._student.prefixes.num_bytes > 0
    runtime.swap(adapter, 5)
    assert runtime._student.prefixes.num_bytes == 0
    fresh = OnnxRuntime(pairs[1], precision="fp32", adapter=adapter, version=5)
    (ours,), (wanted,) = runtime.answer(ASKED[:1]), fresh.answer(ASKED[:1])
    assert (ours.step_ids, ours.version) == (wanted.step_ids, 5)
    assert ours.scores == pytest.approx(wanted.scores, abs=1e-5)


@pytest.mark.parametrize(
    ("processors", "threads", "places"),
    [(1, 1, 1), (2, 1, 2), (2, 2, 1), (4, None, 1), (8, 3, 2), (2, 16, 1)],
)
def test_as_many_calls_overlap_as_have_processors(
    processors: int, threads: int | None, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftline_device.runtime.onnx.runtime.num_processors", lambda: processors)
    assert num_places(threads) == places


def test_a_call_under_way_finishes_on_the_version_it_began_with(
    pairs: tuple[Pair, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    runtime = OnnxRuntime(pairs[1], precision="fp32")
    before = [answer.step_ids for answer in runtime.answer(ASKED)]
    begun, swapped = threading.Event(), threading.Event()
    given: list[Answer] = []

    def on_token(_row: int, _text: str) -> None:
        begun.set()
        assert swapped.wait(60)

    thread = threading.Thread(target=lambda: given.extend(runtime.answer(ASKED, on_token=on_token)))
    thread.start()
    assert begun.wait(60)
    # Nothing waits for the call under way: the swap comes back while it stands still.
    runtime.swap(moved(runtime.adapter(), 0.5), 9)
    (new,) = runtime.answer(ASKED[:1])
    swapped.set()
    thread.join(60)
    assert new.version == 9
    assert {answer.version for answer in given} == {0}
    assert [answer.step_ids for answer in given] == before


def test_long_calls_run_in_blocks_with_the_same_answers(pairs: tuple[Pair, Pair]) -> None:
    texts: dict[int, str] = {}
    whole = OnnxRuntime(pairs[1], precision="fp32").answer(ASKED)
    blocks = OnnxRuntime(pairs[1], precision="fp32", max_batch=2).answer(
        ASKED, on_token=texts.__setitem__
    )
    assert [answer.step_ids for answer in whole] == [answer.step_ids for answer in blocks]
    assert sorted(texts) == list(range(len(ASKED)))


def test_wrong_arguments_are_named(pairs: tuple[Pair, Pair], fp32: OnnxRuntime) -> None:
    pair, exported = pairs
    with pytest.raises(ConfigError, match="fp32, int4, int8"):
        OnnxRuntime(exported, precision="int3")
    with pytest.raises(PairError, match="driftline models export"):
        OnnxRuntime(pair, precision="fp32")
    with pytest.raises(PairError, match='runtime = "onnx"'):
        make_runtime(exported, name="torch")
    with pytest.raises(ConfigError, match="onnxruntime knows"):
        choose_providers(["QuantumExecutionProvider"])
    with pytest.raises(ConfigError, match="has none"):
        choose_providers(["CoreMLExecutionProvider"])
    assert choose_providers(["CUDAExecutionProvider", "CPUExecutionProvider"]) == [
        "CPUExecutionProvider"
    ]
    (answer,) = fp32.answer(ASKED[:1])
    with pytest.raises(ConfigError, match="attention"):
        fp32.score_tokens("attention", ASKED[0].text, answer, passes=2, seed=0)
    with pytest.raises(ConfigError, match="passes"):
        fp32.mutual_information(ASKED[0].text, answer, passes=0, seed=0)
    with pytest.raises(DataError, match="shorter"):
        fp32.answer([Question(image=random_image(0), text="is it red? " * 200)])
    with fp32.trial(fp32.adapter()) as candidate:
        assert candidate.version == -1
    with pytest.raises(UpdateError, match="over"):
        candidate.answer(ASKED[:1])


def test_an_export_that_was_changed_is_refused(pairs: tuple[Pair, Pair], tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(pairs[1].dir, folder)
    (folder / "pair.toml").write_text(
        (folder / "pair.toml").read_text().replace("max_new_tokens = 4", "max_new_tokens = 5")
    )
    with pytest.raises(PairError, match="max_new_tokens"):
        load_pair(folder)
    shutil.copy(pairs[1].dir / "pair.toml", folder / "pair.toml")
    (folder / "lm.int8.onnx").write_bytes(b"\0" * (folder / "lm.int8.onnx").stat().st_size)
    with pytest.raises(PairError, match=r"lm\.int8\.onnx"):
        OnnxRuntime(load_pair(folder), precision="int8")
    told = json.loads((folder / "export.json").read_text())
    told["prompt"]["image_token"] = "<other>"
    (folder / "export.json").write_text(json.dumps(told))
    with pytest.raises(PairError, match="image token"):
        OnnxRuntime(load_pair(folder), precision="fp32").answer(ASKED[:1])


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("model", "num_key_heads"), 1 << 20, "past_key"),
        (("model", "num_layers"), 1, "leaves out layers"),
        (("model", "num_layers"), 1_000, "past_key.2"),
        (("model", "width"), 7, "inputs_embeds|embeddings"),
        (("prompt", "pad_id"), 1 << 20, "names token"),
        (("layout", "ids"), None, "names token"),
        (("layout", "positions"), [list(range(16))] * 3, "position_ids"),
    ],
)
def test_numbers_that_the_graphs_do_not_have_are_refused_at_the_start(
    path: tuple[str, str], value: object, named: str, pairs: tuple[Pair, Pair], tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(pairs[1].dir, folder)
    told = json.loads((folder / "export.json").read_text())
    table, key = path
    told[table][key] = [1 << 20 for _ in told[table][key]] if value is None else value
    told["model"]["query_layers"] = list(range(told["model"]["num_layers"]))
    (folder / "export.json").write_text(json.dumps(told))
    with pytest.raises(PairError, match=named):
        OnnxRuntime(load_pair(folder), precision="fp32")


def test_a_slim_picture_is_refused_before_it_grows() -> None:
    steps = [{"step": "resize_shortest", "edge": 336, "resample": 3}]
    table = ImageTable.model_validate_json(
        json.dumps({"height": 336, "width": 336, "steps": steps})
    )
    with pytest.raises(DataError, match="100 times the other"):
        pixels_of(np.zeros((1, 60_000, 3), np.uint8), table)
    with pytest.raises(DataError, match="100 times the other"):
        on_canvas(np.zeros((60_000, 1, 3), np.uint8), None)


def test_a_slim_picture_is_read_where_all_get_one_size(pairs: tuple[Pair, Pair]) -> None:
    slim = np.full((1, 300, 3), 90, np.uint8)
    question = Question(image=slim, text="what is it?")
    (exported,) = OnnxRuntime(pairs[1], precision="fp32").answer([question])
    (torch_s,) = TorchRuntime(pairs[0]).answer([question])
    assert exported.text == torch_s.text


def test_the_bounded_cache_forgets_what_was_unused_longest() -> None:
    cache: BoundedCache[str] = BoundedCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == ("A", None, "C")
    cache.put("a", "AA", 6)
    assert (cache.get("a"), cache.num_bytes) == ("AA", 10)
    cache.put("d", "D", 11)
    assert cache.get("d") is None


def test_the_digest_of_a_picture_is_of_its_shape_too() -> None:
    flat = np.arange(24, dtype=np.uint8)
    assert image_digest(flat.reshape(2, 4, 3)) != image_digest(flat.reshape(4, 2, 3))
    assert image_digest(flat.reshape(2, 4, 3)) == image_digest(flat.reshape(2, 4, 3).copy())


def test_step_scores_are_of_the_softmax() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=np.float32))
    chosen, entropy, margin = step_scores(logits)
    assert chosen.tolist() == [0, 2]
    assert margin == pytest.approx([0.2, 0.7], abs=1e-6)
    p = np.exp(logits)
    assert entropy == pytest.approx(-(p * logits).sum(axis=1) / np.log(3), abs=1e-6)


def test_what_a_question_spells_is_text_under_both(twin: TorchRuntime, fp32: OnnxRuntime) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    for text in ("what does <image> mean?", "<im<image>age>", "</s><s>", "a 🙂 b", "<pad>?"):
        asked = [Question(image=image, text=text)]
        assert fp32.answer(asked)[0].num_prompt_tokens == twin.answer(asked)[0].num_prompt_tokens


def test_a_question_without_room_is_refused_before_either_model_runs(
    twin: TorchRuntime, fp32: OnnxRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs(*_: object, **__: object) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr(Graphs, "run", runs)
    monkeypatch.setattr(type(twin._model), "encode", runs)
    told = []
    for runtime in (twin, fp32):
        with pytest.raises(DataError) as caught:
            runtime.answer(
                [Question(image=np.zeros((32, 32, 3), np.uint8), text="what shape " * 400)]
            )
        told.append(str(caught.value))
    assert told[0] == told[1] and "tokens long, and this model has room for" in told[0]


def test_an_adapter_is_taken_up_without_a_temporary_folder(
    pairs: tuple[Pair, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    runtime = OnnxRuntime(pairs[1], precision="fp32")
    before = runtime.answer(ASKED[:1])[0]
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    runtime.swap(moved(runtime.adapter(), 0.3), 1)
    after = runtime.answer(ASKED[:1])[0]
    assert after.version == 1 and after.scores != before.scores


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_caches_of_calls_that_take_turns_step_by_step_never_mix(
    precision: str, pairs: tuple[Pair, Pair]
) -> None:
    """Two adapters, prompts of unlike length: a step of one between two steps of the other."""
    student = OnnxRuntime(pairs[1], precision=precision)._student
    plain = student.activate(load_version_0(pairs[1].dir, student.export), 0)
    other = student.activate(moved(plain.copy(), 0.5), 1)

    def steps(adapter: ActiveAdapter, length: int) -> Iterator[NDArray[np.float32]]:
        language, rng = student.language, np.random.default_rng(length)
        embeds = rng.standard_normal((1, length + 6, language.width)).astype(np.float32)
        # Positions have gaps, as those of a prompt that kept some tokens only.
        positions = np.cumsum(rng.integers(1, 4, (1, 1, length + 6)), axis=2)
        cache = language.cache(1, length + 6)
        for start, end in [(0, length), *((n, n + 1) for n in range(length, length + 6))]:
            at = slice(start, end)
            hidden, _ = language.step(embeds[:, at], positions[..., at], cache, adapter)
            yield hidden

    alone = [list(steps(plain, 9)), list(steps(other, 14))]
    in_turns = list(zip(steps(plain, 9), steps(other, 14), strict=True))
    for got, wanted in zip(in_turns, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(got[0], wanted[0])
        np.testing.assert_array_equal(got[1], wanted[1])


def test_a_graph_that_decodes_gives_the_logits_of_its_states(pairs: tuple[Pair, Pair]) -> None:
    """Under an adapter that moves the final norm, too."""
    student = OnnxRuntime(pairs[1], precision="int4")._student
    plain = student.activate(load_version_0(pairs[1].dir, student.export), 0)
    adapter = student.activate(moved(plain.copy(), 0.3), 1)
    language, rng = student.language, np.random.default_rng(5)
    embeds = rng.standard_normal((3, 2, language.width)).astype(np.float32)
    positions = np.broadcast_to(np.arange(2), (1, 3, 2)).astype(np.int64)
    for under in (plain, adapter):
        cache = language.cache(3, 2)
        for place in range(2):
            at = slice(place, place + 1)
            fed = (embeds[:, at], positions[:, :, at], cache, under)
            hidden, given = language.step(*fed, also=["logits"])
            wanted = language.logits(hidden[:, -1], under)
            np.testing.assert_allclose(given["logits"], wanted, rtol=1e-5, atol=1e-5)
        again = language.cache(3, 1)
        logits = language.next_logits(embeds[:, :1], positions[:, :, :1], again, under)
        assert logits.shape == (3, student.export.model.vocabulary)


def test_a_decode_step_is_the_last_place_of_a_whole_pass(pairs: tuple[Pair, Pair]) -> None:
    """Where the graph that decodes rotates by itself: at positions with gaps."""
    runtime = OnnxRuntime(pairs[1], precision="int4")
    student, adapter = runtime._student, runtime._open()
    language, rng = student.language, np.random.default_rng(4)
    embeds = rng.standard_normal((2, 8, language.width)).astype(np.float32)
    positions = np.cumsum(rng.integers(1, 4, (1, 2, 8)), axis=2)
    cache = language.cache(2, 8)
    for place in range(8):
        at = slice(place, place + 1)
        stepped, _ = language.step(embeds[:, at], positions[..., at], cache, adapter)
    exact = OnnxRuntime(pairs[1], precision="fp32")
    wanted, _ = exact._student.language.step(
        embeds, positions, exact._student.language.cache(2, 8), exact._open()
    )
    for got, whole in zip(stepped[:, 0], wanted[:, -1], strict=True):
        likeness = float(got @ whole / (np.linalg.norm(got) * np.linalg.norm(whole)))
        assert likeness > 0.98


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
@pytest.mark.parametrize("amount", [0.0, 0.5], ids=["version-0", "adapter"])
def test_rows_of_unequal_lengths_give_what_each_gives_alone(
    precision: str, amount: float, pairs: tuple[Pair, Pair]
) -> None:
    """Prompts read in one pass or one by one, steps behind them; positions have gaps."""
    student = OnnxRuntime(pairs[1], precision=precision)._student
    language, rng = student.language, np.random.default_rng(7)
    base = load_version_0(pairs[1].dir, student.export)
    adapter = student.activate(moved(base, amount), 1)
    lengths, num_steps = (13, 4, 9), student.export.model.max_new_tokens
    rows = [
        Batch(
            embeds=rng.standard_normal((1, length, language.width)).astype(np.float32),
            positions=np.cumsum(rng.integers(1, 4, (1, 1, length)), axis=2),
            lengths=np.asarray([length]),
            deep={},
        )
        for length in lengths
    ]
    steps = rng.standard_normal((num_steps, 3, 1, language.width)).astype(np.float32)
    longest = max(lengths)
    # What pads a row is loud, so that one look at it would be seen.
    whole = Batch(
        embeds=np.concatenate(
            [_padded(row.embeds, longest, axis=1, value=1e3) for row in rows], axis=0
        ),
        positions=np.concatenate(
            [_padded(row.positions, longest, axis=2, value=99) for row in rows], axis=1
        ),
        lengths=np.asarray(lengths),
        deep={},
    )

    def written(read: PromptRead, chosen: slice) -> list[NDArray[np.float32]]:
        found, positions = [language.logits(read.states, adapter)], read.positions
        for step in steps[:, chosen]:
            positions = positions + 1
            found.append(language.next_logits(step, positions, read.cache, adapter))
        return found

    alone = [
        np.stack(written(language.read(row, adapter), slice(number, number + 1)))
        for number, row in enumerate(rows)
    ]
    wanted = np.concatenate(alone, axis=1)
    one_pass = written(language.read(whole, adapter), slice(None))
    joined = written(language.joined([language.read(row, adapter) for row in rows]), slice(None))
    # Sums in another order can round an activation to its neighbour.
    most = np.abs(wanted).max() * (1e-5 if precision == "fp32" else 0.02)
    for got in (one_pass, joined):
        np.testing.assert_allclose(np.stack(got), wanted, rtol=0.0, atol=most)


def _padded(array: NDArray[Any], length: int, *, axis: int, value: float) -> NDArray[Any]:
    wide = [(0, length - array.shape[axis] if each == axis else 0) for each in range(array.ndim)]
    return np.pad(array, wide, constant_values=value)
