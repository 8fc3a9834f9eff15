"""How few tokens are enough: the teacher's accuracy on what would leave, and its bytes, by share
and scorer.

Uses stream pictures only, so the default share may be read off it without looking at a test set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_device.sampling.choice import num_kept, top_positions
from driftline_device.sampling.scorers import TOKEN_SCORERS, score_tokens
from driftline_lab.data.streams import Event, Segment, stream
from driftline_shared.codec.tokens import decode_tokens, encode_tokens
from driftline_shared.exact_match import is_correct
from driftline_shared.models.loading import load_teacher
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.tokens import VisualTokens

SHARES = (0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0)
CODECS = ("int8", "int4")
PASSES = 4


def run_share(
    domains: Sequence[str], num_questions: int, pair_name: str = "tiny"
) -> dict[str, Any]:
    """Rows of domain, scorer, codec, share: teacher accuracy and mean payload bytes a sample."""
    pair = load_pair(pair_name)
    runtime = TorchRuntime(pair, threads=2)
    teacher = load_teacher(pair)
    rows = []
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(
            "sweeping", total=len(domains) * len(TOKEN_SCORERS) * len(CODECS) * len(SHARES)
        )
        for domain in domains:
            events = list(stream([Segment(domain=domain, num_questions=num_questions)], seed=17))
            answers = runtime.answer([Question(image=e.picture(), text=e.question) for e in events])
            for scorer in TOKEN_SCORERS:
                scores = _scores(runtime, scorer, events, answers)
                for codec in CODECS:
                    for share in SHARES:
                        row = _row(pair, teacher, events, answers, scores, codec, share)
                        rows.append({"domain": domain, "scorer": scorer} | row)
                        bar.advance(task)
    return {"pair": pair_name, "num_questions": num_questions, "rows": rows}


def _scores(
    runtime: TorchRuntime, scorer: str, events: Sequence[Event], answers: Sequence[Answer]
) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [
        score_tokens(scorer, event.question, answer, runtime, passes=PASSES, rng=rng)
        for event, answer in zip(events, answers, strict=True)
    ]


def _row(
    pair: Pair,
    teacher: MultimodalModel,
    events: Sequence[Event],
    answers: Sequence[Answer],
    scores: Sequence[np.ndarray[Any, Any]],
    codec: str,
    share: float,
) -> dict[str, Any]:
    count = num_kept(pair.token_space.grid.num_tokens, share)
    sent, sizes = [], []
    for answer, score in zip(answers, scores, strict=True):
        kept = answer.tokens.keep(top_positions(score, answer.tokens.positions, count))
        coded = encode_tokens(kept, pair.token_space, codec)
        sizes.append(len(coded.payload))
        sent.append(decode_tokens(coded, pair.token_space))
    texts = _answers(pair, teacher, events, sent)
    right = sum(is_correct(t, e.answer) for t, e in zip(texts, events, strict=True))
    return {
        "codec": codec,
        "share": share,
        "num_tokens": count,
        "teacher_accuracy": right / len(events),
        "payload_bytes": float(np.mean(sizes)),
    }


def _answers(
    pair: Pair, teacher: MultimodalModel, events: Sequence[Event], sent: Sequence[VisualTokens]
) -> list[str]:
    texts: list[str] = []
    for start in range(0, len(events), 64):
        part, rows = sent[start : start + 64], events[start : start + 64]
        values = torch.from_numpy(np.stack([tokens.values for tokens in part]))
        positions = torch.from_numpy(np.stack([t.positions for t in part]).astype(np.int64))
        with torch.inference_mode():
            projected = teacher.project(values)
            batch = teacher.batch(projected, positions, [row.question for row in rows])
            texts += teacher.generate(batch, pair.max_new_tokens).texts
    return texts
