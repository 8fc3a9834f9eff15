"""The whole demo, once a seed, and what the seeds say together."""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from driftline_lab.data.domains import SOURCE
from driftline_lab.data.worlds import world_for
from driftline_lab.demo.processes import command
from driftline_lab.intervals import summary
from driftline_lab.recovered import row_recovered
from driftline_shared.errors import DataError, DriftlineError
from driftline_shared.pair.pair import load_draft


def run_loop(
    seeds: Sequence[int],
    *,
    pair: str = "tiny",
    segments: str = "",
    device: Sequence[str] = (),
    work: Path | None = None,
) -> dict[str, Any]:
    """The documents of `driftline demo`, and what the seeds say together: mean, its 95 % interval
    (Student's t), spread and extremes. No `segments`: those of the pair's world. `device`: its
    settings, KEY=VALUE each.

    A demo ends by itself, however long it takes: it stops when neither of its programs says
    anything new. `work`: a folder with a document of each seed that is finished.
    """
    world_for(None, pair=pair).drifts_of(segments)  # a name that is none is known at once
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            return run_loop(seeds, pair=pair, segments=segments, device=device, work=Path(folder))
    work.mkdir(parents=True, exist_ok=True)
    spec = load_draft(pair).file.read_bytes()
    told = [*segments.split(","), *(re.sub(r"[^\w.]+", "-", setting) for setting in device)]
    told.append(hashlib.sha256(spec).hexdigest()[:8])
    name = "-".join([Path(pair).name, *filter(None, told)])
    flags = ["--pair", pair]
    flags += ["--segments", segments] if segments else []
    for setting in device:
        flags += ["--set-device", setting]
    files = {seed: work / f"{name}-{seed}.json" for seed in seeds}
    if there := [file for file in files.values() if file.exists()]:
        read_documents(there)  # one that is broken is known before the others are made
    return read_documents([_demo(seed, flags, file) for seed, file in files.items()])


def read_documents(files: Sequence[Path]) -> dict[str, Any]:
    """The same of documents that `driftline demo --json` wrote before, or of results of this bench.

    Raises DataError where they are none, of one seed twice, or not of one pair, world, runtime and
    set of domains: a mean over such would be of nothing.
    """
    documents = []
    for file in files:
        try:
            documents += _documents(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{file} is no document of driftline demo: {error}") from error
    try:
        told = [_kind(document) for document in documents]
        seeds = [document["seed"] for document in documents]
        if any(one != told[0] for one in told) or len(set(seeds)) < len(seeds):
            raise DataError(
                "documents of one pair and world, one runtime and the same domains, each seed "
                "once, can be put together"
            )
        return summarise(documents)
    except KeyError as error:
        raise DataError(f"a document lacks {error}: not of one demo's domains?") from error
    except statistics.StatisticsError as error:
        raise DataError("a document has no domain but the source: nothing drifts there") from error
    except (TypeError, AttributeError, ZeroDivisionError) as error:
        raise DataError(f"a document's numbers are none that a demo measures: {error}") from error


def _documents(read: Any) -> list[Any]:
    """Of a file: the one that it is, or those of a result."""
    return list(read["result"]["documents"]) if "result" in read else [read]


def _kind(document: dict[str, Any]) -> tuple[Any, ...]:
    """What the seeds of one mean have in common."""
    told = document["pair"], document["world"], document.get("device")
    return *told, set(document["accuracy"])


def summarise(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the documents of several seeds say together."""
    drifted = [name for name in documents[0]["accuracy"] if name != SOURCE]
    recovered = {name: [row_recovered(d["accuracy"][name]) for d in documents] for name in drifted}
    means = [
        statistics.fmean(recovered[name][i] for name in drifted) for i in range(len(documents))
    ]
    source = [d["accuracy"][SOURCE] for d in documents]
    per_sample = [d["uplink"]["bytes_per_sample"] for d in documents]
    tokens = [d["uplink"]["fp16_tokens_bytes_per_sample"] for d in documents]
    update = [d["downlink"]["bytes_per_update"] for d in documents]
    adapter = [d["downlink"]["fp16_adapter_bytes"] for d in documents]
    return {
        "seeds": [document["seed"] for document in documents],
        "pair": documents[0]["pair"],
        "world": documents[0]["world"],
        "recovered": _spread(means),
        "recovered_by_domain": {name: _spread(values) for name, values in recovered.items()},
        "forgetting": _spread([row["before"] - row["after"] for row in source]),
        "uplink_share": _spread([d["uplink"]["sent"] / d["uplink"]["seen"] for d in documents]),
        "bytes_per_sample": _spread(per_sample),
        "bytes_per_sample_of_fp16_tokens": _spread(_ratios(per_sample, tokens)),
        "bytes_per_update": _spread(update),
        "bytes_per_update_of_fp16_adapter": _spread(_ratios(update, adapter)),
        "apply_pause_ms": _spread([d["downlink"]["apply_pause_ms"] for d in documents]),
        "seconds": _spread([d["seconds"] for d in documents]),
        "documents": list(documents),
    }


SAID_ABOVE = "What it said itself stands above."


def _demo(seed: int, flags: Sequence[str], out: Path) -> Path:
    """The file `out`, with the document of this demo."""
    if not out.exists():
        words = command("demo", "--seed", str(seed), *flags, "--json", str(out))
        done = subprocess.run(words, stdout=sys.stderr, check=False)
        if done.returncode != 0:
            raise DriftlineError(
                f"the demo with seed {seed} ended with {done.returncode}", fix=SAID_ABOVE
            )
    return out


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """As JSON has it: no interval where there is one seed, nothing where no seed has a gap."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return dict.fromkeys(("mean", "low", "high", "spread", "min", "max"))
    found = asdict(summary(finite))
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
