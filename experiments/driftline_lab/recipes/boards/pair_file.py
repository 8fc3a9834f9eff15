"""The pair's TOML file, and what is fitted beside it."""

from __future__ import annotations

from pathlib import Path

from driftline_device.runtime.factory import make_runtime
from driftline_device.sampling.calibration import Calibrated, TokenRuntime, calibrate
from driftline_lab.recipes.tiny.tokenizer import prompt
from driftline_shared.callbacks import Progress
from driftline_shared.errors import DriftlineError
from driftline_shared.models.fit.fitting import fit_stored
from driftline_shared.pair.pair import load_draft, load_pair

_TEXT = f"""# Made by `driftline lab build-pair boards`, described in README.md beside this file.
name = "boards"
prompt = {prompt("{question}")!r}
max_new_tokens = 8

[student]
quantization = "nf4"

[token_space]

[adapter]
rank = 16
alpha = 32.0
norms = true
seed = 0
dropout = 0.1
"""


def write_pair_file(folder: Path) -> None:
    """pair.toml, its token space still empty."""
    (folder / "pair.toml").write_text(_TEXT.replace("'", '"'), encoding="utf-8")


def fit(folder: Path, progress: Progress) -> Calibrated:
    """Token space and gate, from the source set that lies in `folder`."""
    fit_stored(load_draft(str(folder)))
    pair = load_pair(str(folder))
    runtime = make_runtime(pair, name="torch")
    if not isinstance(runtime, TokenRuntime):
        raise DriftlineError("the torch runtime does not answer from tokens")
    return calibrate(pair, runtime, progress)
