"""The one language model of the comparison, SmolLM2-135M-Instruct, in each runtime's own format."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from driftline_shared.assembly import smollm2
from driftline_shared.errors import DriftlineError

_READ = 256
"""Tokens of the prompt that outlier inputs are found on."""


def checkpoint(work: Path) -> Path:
    """A transformers folder with the weights of the GGUF file, computed in float32; made once."""
    folder = work / "checkpoint"
    if not (folder / "model.safetensors").is_file():
        import torch
        from transformers import LlamaForCausalLM

        reader = smollm2.open_gguf()
        net: Any = LlamaForCausalLM(smollm2.language_config())
        weights = smollm2.read_language_model(reader)
        net.model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        net.save_pretrained(folder)
        smollm2.tokenizer(reader).save_pretrained(folder)
    return folder


def genai_folder(work: Path) -> Path:
    """What onnxruntime-genai's builder makes of the checkpoint: int4 for the CPU; made once."""
    folder = work / "genai-int4"
    if not (folder / "genai_config.json").is_file():
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        command += ["-i", str(checkpoint(work)), "-o", str(folder), "-p", "int4", "-e", "cpu"]
        command += ["-c", str(work / "genai-cache")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode != 0:
            raise DriftlineError(
                f"onnxruntime-genai's builder failed: {done.stderr[-2000:]}",
                fix="What it says; or leave its runtime out with --runtimes.",
            )
    return folder


def our_folder(work: Path) -> Path:
    """Our graphs of the checkpoint; made once."""
    from driftline_lab.bench.device.decoders.onnx_decoder import write_graphs

    folder = work / "ours"
    if not (folder / "adapter.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_graphs(checkpoint(work), folder, prompt_ids(work, _READ))
    return folder


def prompt_ids(work: Path, length: int) -> list[int]:
    """The first `length` tokens of an English text, the same for every runtime."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint(work), local_files_only=True)
    text = "A camera looks at the same street all day; at night the street is another one. " * 100
    return [int(token) for token in tokenizer(text)["input_ids"]][:length]
