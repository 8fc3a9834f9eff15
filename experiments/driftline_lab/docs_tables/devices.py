"""Tables of a device: runtimes beside each other, and an exported pair beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftline_lab.docs_tables.page import Page, Rows

_RUNTIMES = {
    "torch": "PyTorch fp32",
    "genai": "onnxruntime-genai int4",
    "llama.cpp": "llama.cpp Q4_1",
    "onnx-int8": "Driftline int8",
    "onnx-int4": "Driftline int4 (prompt read by int8)",
    "onnx-int4-adapted": "the same under an adapter of rank 16 on every layer",
}


_BY = {"onnx": "ONNX Runtime", "torch": "PyTorch"}
_PARTS = {"reading_ms": "reading", "writing_ms": "writing"}


def runtimes(page: Page) -> Rows:
    """SmolLM2-135M read and written by every runtime."""
    return _runtimes(page, "runtimes")


def runtimes_576(page: Page) -> Rows:
    """The same behind a prompt of 576 tokens: a picture's, without a compressor."""
    return _runtimes(page, "runtimes_576")


def _runtimes(page: Page, name: str) -> Rows:
    found = page.result(name)["result"]["runtimes"]
    body = [
        [
            title,
            _figures(found[name]["prefill_per_s"]),
            _figures(found[name]["decode_per_s"]),
            f"{found[name]['peak_bytes'] / 2**20:.0f} MiB",
        ]
        for name, title in _RUNTIMES.items()
        if name in found
    ]
    return [["", "prefill, tokens/s", "decode, tokens/s", "peak memory"], *body]


def second_question(page: Page) -> Rows:
    """What a picture's second question costs beside its first, reading and writing apart."""
    found = page.result("second_question")["result"]
    body = [
        [
            f"`{row['pair']}`, {_BY[row['runtime']]} {row['precision']}",
            *(f"{row[which][kind]:.1f}" for which in ("first", "second") for kind in _PARTS),
            _percent(row["share"]),
            _percent(row["share_of_reading"]),
        ]
        for row in found["pairs"]
    ]
    head = [f"{which}: {part}" for which in ("first", "second") for part in _PARTS.values()]
    return [["", *head, "second of first", "of reading alone"], *body]


def exported(page: Page) -> Rows:
    """The pair `tiny` as int8 and int4 graphs, beside the torch runtime."""
    answers = page.result("answers")["result"]
    against, kinds = answers["against_fp32"], ("int8", "int4", "torch")
    starts = page.result("starts")["result"]
    swaps = page.result("swaps")["result"]
    sampling = page.result("uts")["result"]
    soak = page.result("soak")["result"]
    return [
        ["pair `tiny`, exported", "int8", "int4", "PyTorch"],
        [
            f"answers that are the fp32 twin's, of {answers['num_questions']} "
            f"({page.link('answers')})",
            *(_percent(against[kind]["agreement"]) for kind in kinds),
        ],
        [
            f"rank correlation with the twin's scores, the least of "
            f"{len(against['int8']['spearman'])} kinds",
            *(f"{min(against[kind]['spearman'].values()):.3f}" for kind in kinds),
        ],
        [
            f"milliseconds to an answer, threads: {answers['threads']}",
            *(f"{answers['answer_ms'][kind]:.1f}" for kind in kinds),
        ],
        [
            f"sampling at the defaults, share of answer time: source / night ({page.link('uts')})",
            *_two(lambda kind: _sampling(sampling[kind])),
        ],
        [
            "seconds from start to the first answer, with nothing or with "
            f"{starts['spooled']:,} samples spooled ({page.link('starts')})",
            *_two(lambda kind: _slashed(starts["seconds_to_first_answer"][kind])),
        ],
        [
            "peak memory of the device's process up to its first answers",
            *_two(lambda kind: f"{starts['peak_bytes'][kind] / 1e6:.0f} MB"),
        ],
        [
            f"{swaps['onnx']['swaps']:,} swaps under load: failed, mixed, pause p99 "
            f"({page.link('swaps')})",
            *_two(lambda kind: _swap(swaps[kind])),
        ],
        [
            f"{soak['minutes']:.0f} minutes, {soak['clients']} clients: requests, failed, growth "
            f"of memory ({page.link('soak')})",
            f"{soak['requests']:,}, {soak['failed']}, {_percent(soak['drift'])}",
            "",
            "",
        ],
    ]


def _two(cell: Callable[[str], str]) -> list[str]:
    """A row that was measured of the ONNX runtime's own choice and of torch."""
    return [cell("onnx"), "", cell("torch")]


def _sampling(result: dict[str, Any]) -> str:
    shares = [result["sampling_share"][domain]["share"] for domain in ("source", "night")]
    return " / ".join(f"{100 * share:.0f}" for share in shares) + " %"


def _slashed(seconds: dict[str, float]) -> str:
    return f"{seconds['empty']:.1f} / {seconds['full']:.1f}"


def _swap(result: dict[str, Any]) -> str:
    pause = result["pause_ms"]["p99"]
    shown = f"{pause:.1f}" if pause >= 0.1 else f"{pause:.3f}"
    return f"{result['num_failed']}, {result['num_mixed']}, {shown} ms"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace("100.0", "100")


def _figures(value: float) -> str:
    """Three figures, whole numbers in full."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}"
