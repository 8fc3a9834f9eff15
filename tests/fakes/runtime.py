"""A runtime without a model: deterministic, thread-safe, and its adapter decides how it behaves.

An image made by `picture` says which answer is right and how hard it is. Adapter tensors of one
value each are switches: `skill` > 0.5 masters hard images, `harm` answers wrong, `unsure` doubts
everything, `crash` raises,
`slow_ms` waits per answer; a weight that is not finite makes scores that are not finite.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from driftline_device.runtime.runtime import Answer, Question, Session
from driftline_device.runtime.turns import Turns
from driftline_shared.callbacks import OnToken
from driftline_shared.errors import DataError, UpdateError
from driftline_shared.p_ik.head import LEVELS, IkHead
from driftline_shared.pair.pair import ProbeItem
from driftline_shared.tokens import Grid, TokenSpace, VisualTokens
from driftline_shared.update import Adapter

WORDS = ("red", "green", "blue", "yes")
BASE_MODEL = "ba5e" * 16
SPACE = "5bace" * 12 + "abcd"
PAIR = "fake"
GRID = Grid(rows=4, cols=4)
WIDTH = 8
SWITCHES = ("crash", "harm", "skill", "slow_ms", "unsure")


def picture(word: int, *, hard: bool = False, noise: int = 0) -> NDArray[np.uint8]:
    """(4, 4, 3) uint8: the answer is WORDS[word]; `noise` only makes pictures differ."""
    image = np.full((4, 4, 3), noise % 256, dtype=np.uint8)
    image[0, 0] = (word % len(WORDS), int(hard), 0)
    return image


def probe_set(num: int = 12) -> list[ProbeItem]:
    """Easy pictures with their right answers."""
    return [
        ProbeItem(image=picture(n, noise=n), question="what?", answer=WORDS[n % len(WORDS)])
        for n in range(num)
    ]


def base_adapter() -> dict[str, NDArray[np.float32]]:
    """Version 0: every switch off."""
    switches = {name: np.zeros(1, dtype=np.float32) for name in SWITCHES}
    return {**switches, "weights": np.zeros((8, 8), dtype=np.float32)}


def adapter(**switches: float) -> dict[str, NDArray[np.float32]]:
    """The base adapter with some switches on."""
    values = {name: np.array([value], dtype=np.float32) for name, value in switches.items()}
    return {**base_adapter(), **values}


def token_space() -> TokenSpace:
    """The space of this runtime's tokens."""
    return TokenSpace(
        digest=SPACE,
        grid=GRID,
        low=np.full(WIDTH, -1.0, dtype=np.float32),
        high=np.full(WIDTH, 1.0, dtype=np.float32),
        mean=np.zeros(WIDTH, dtype=np.float32),
        precision=np.eye(WIDTH, dtype=np.float32),
    )


def calibration() -> dict[str, NDArray[np.float64]]:
    """Sorted source scores: easy pictures are always at 0.1."""
    return {kind: np.full(100, 0.1) for kind in ("entropy", "margin", "mutual_information", "ood")}


def ik_head(version: int = 0, *, hard: float = 4.0) -> IkHead:
    """A head that calls hard pictures unknown; its states are (word, hard)."""
    quantiles = np.linspace(1.0, -1.0, len(LEVELS)).astype(np.float16).astype(np.float64)
    return IkHead(
        weights=np.asarray([0.0, hard, 0.0, 0.0]),
        bias=-2.0,
        quantiles=quantiles,
        num_source=99,
        version=version,
    )


class FakeRuntime:
    """The Runtime protocol; `calls` counts questions asked of the active adapter."""

    base_model = BASE_MODEL

    def __init__(
        self,
        adapter: Adapter | None = None,
        version: int = 0,
        ik_head: IkHead | None = None,
    ) -> None:
        self._adapter: Adapter = adapter if adapter is not None else base_adapter()
        self.ik_head = ik_head
        self._version = version
        self.turns = Turns()
        self.calls = 0

    @property
    def version(self) -> int:
        return self._version

    def adapter(self) -> Adapter:
        return dict(self._adapter)

    def check_question(self, text: str) -> None:
        if len(text) > 3_000:
            raise DataError("the question ends at position 663")

    def answer(
        self, questions: Sequence[Question], *, on_token: OnToken | None = None
    ) -> list[Answer]:
        with self.turns:
            self.calls += len(questions)
            answers = [self._one(question) for question in questions]
        for row, answer in enumerate(answers if on_token is not None else ()):
            for end in (1, len(answer.text)):
                on_token(row, answer.text[:end])
        return answers

    def mutual_information(self, question: str, answer: Answer, *, passes: int, seed: int) -> float:
        return answer.scores["entropy"] / 2

    def score_tokens(
        self, scorer: str, question: str, answer: Answer, *, passes: int, seed: int
    ) -> NDArray[np.float32]:
        return np.abs(answer.tokens.values).sum(axis=1)

    @contextmanager
    def _trial(self, adapter: Adapter) -> Iterator[Session]:
        yield FakeRuntime(adapter, -1)

    def trial(self, adapter: Adapter) -> AbstractContextManager[Session]:
        _check_shapes(adapter)
        return self._trial(adapter)

    def swap(self, adapter: Adapter, version: int, ik_head: IkHead | None = None) -> float:
        _check_shapes(adapter)
        with self.turns:
            self._adapter, self._version = adapter, version
            self.ik_head = ik_head or self.ik_head
        return 0.01

    def _on(self, name: str) -> bool:
        return bool(self._adapter[name][0] > 0.5)

    def _one(self, question: Question) -> Answer:
        if self._on("crash"):
            raise RuntimeError("the adapter crashes the model")
        if self._adapter["slow_ms"][0] > 0:
            time.sleep(float(self._adapter["slow_ms"][0]) / 1e3)
        word, hard, _ = (int(value) for value in question.image[0, 0])
        good = not self._on("harm") and (not hard or self._on("skill"))
        entropy = 0.9 if self._on("unsure") or (hard and not self._on("skill")) else 0.1
        if not all(np.isfinite(array).all() for array in self._adapter.values()):
            entropy = float("nan")
        head = self.ik_head
        state = np.asarray([word, hard], dtype=np.float32)
        return Answer(
            p_ik=head.judge(state, entropy, entropy) if head is not None else None,
            text=WORDS[word if good else (word + 1) % len(WORDS)],
            tokens=_tokens(question.image),
            scores={"entropy": entropy, "margin": entropy},
            num_steps=1,
            version=self._version,
            model_s=float(self._adapter["slow_ms"][0]) / 1e3,
            num_prompt_tokens=GRID.num_tokens + len(question.text.split()),
        )


def _check_shapes(adapter: Adapter) -> None:
    shapes = {name: array.shape for name, array in adapter.items()}
    if shapes != {name: array.shape for name, array in base_adapter().items()}:
        raise UpdateError("the adapter does not fit the model")


def _tokens(image: NDArray[np.uint8]) -> VisualTokens:
    flat = image.reshape(-1).astype(np.float32) / 255.0
    values = np.resize(flat, (GRID.num_tokens, WIDTH)).astype(np.float32)
    positions = np.arange(GRID.num_tokens, dtype=np.int32)
    return VisualTokens(values=values, positions=positions, grid=GRID)


def write_pair(folder: Path) -> Path:
    """A pair folder that `load_pair` takes and this runtime answers for; no weights in it."""
    for side in ("teacher", "student"):
        (folder / side).mkdir(parents=True)
        (folder / side / "config.json").write_text('{"model_type": "llava"}')
    (folder / "pair.toml").write_text(
        f'name = "{PAIR}"\nprompt = "{{question}}"\nmax_new_tokens = 4\n'
        '[student]\nquantization = "none"\n'
        f'[token_space]\ndigest = "{SPACE}"\ngrid = {{rows = {GRID.rows}, cols = {GRID.cols}}}\n'
    )
    space = token_space()
    save_file(
        {name: getattr(space, name) for name in ("low", "high", "mean", "precision")},
        folder / "token_space.safetensors",
    )
    save_file(calibration(), folder / "gate.safetensors")
    probe = folder / "probe"
    probe.mkdir()
    write_dataset(probe, probe_set(), name="probe.jsonl")
    return folder


def write_dataset(folder: Path, items: Sequence[ProbeItem], *, name: str = "stream.jsonl") -> Path:
    """Images and a JSONL file of `items`; the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, item in enumerate(items):
        Image.fromarray(item.image).save(folder / f"{number}.png")
        row = {"image": f"{number}.png", "question": item.question, "answer": item.answer}
        rows.append(json.dumps(row))
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder / name


def stream(num: int, *, hard: bool) -> list[ProbeItem]:
    """`num` different questions, all easy or all hard."""
    return [
        ProbeItem(
            image=picture(n, hard=hard, noise=n), question=f"what is {n}?", answer=WORDS[n % 4]
        )
        for n in range(num)
    ]
