"""A folder that Hugging Face `datasets` loads: README.md with its card, data/*.parquet.

    datasets.load_dataset("parquet", data_files="OUT/data/*.parquet"), or load_dataset("OUT")

The parts are copied as they are: they load without code of ours. The card's keys:
https://huggingface.co/docs/hub/datasets-cards (read 2026-11).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from driftline_shared.trace.columns import COLUMNS
from driftline_shared.trace.reader import Trace
from driftline_shared.trace.verify import check_part

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def export(trace: Trace, out: Path) -> int:
    """Write the folder `out`; how many events it holds."""
    data = out / "data"
    data.mkdir(parents=True)
    parts = trace.manifest.parts
    for number, part in enumerate(parts):
        check_part(trace.path(part), part)
        shutil.copyfile(trace.path(part), data / f"train-{number:05d}-of-{len(parts):05d}.parquet")
    (out / "README.md").write_text(_card(trace), encoding="utf-8")
    return trace.manifest.num_rows


def _card(trace: Trace) -> str:
    manifest, subject = trace.manifest, trace.manifest.subject
    rows = manifest.num_rows
    size = next((name for most, name in _SIZES if rows < most), "n>1M")
    licence = manifest.licence or "unknown"
    head = {
        "license": "other" if manifest.licence else "unknown",
        **({"license_name": licence} if manifest.licence else {}),
        "pretty_name": f"Driftline trace of {subject.pair}",
        "size_categories": [size],
        "task_categories": ["visual-question-answering"],
        "tags": ["driftline", "trace", subject.recorder],
        "configs": [
            {"config_name": "default", "data_files": [
                {"split": "train", "path": "data/train-*.parquet"}]},
        ],
    }  # fmt: skip
    # JSON is YAML, and quotes whatever a licence or a pair is called.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    columns = [f"| `{column.name}` | {column.meaning} |" for column in COLUMNS]
    return "\n".join(
        [
            "---",
            *lines,
            "---",
            "",
            f"# Driftline trace of {subject.pair}",
            "",
            f"{rows} events, recorded by a {subject.recorder}. Pair `{subject.pair}`, base model",
            f"`{subject.base_model}`, token space `{subject.token_space}` (tokens of",
            f"{subject.token_width} values). Licence: {licence}.",
            "",
            "| column | meaning |",
            "|---|---|",
            *columns,
            "| `crc32` | checksum of the row's values |",
            "",
        ]
    )
