"""A device's install holds no torch, transformers or ray, and answers a question from an export.

A fresh environment is filled with `driftline[device]` alone: from the wheel of this checkout, with
the pinned packages from pip's cache or the package index. Without either it fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image

from driftline_device.runtime.onnx.runtime import OnnxRuntime
from driftline_device.runtime.runtime import Question
from tests.fakes.tiny_export import make_tiny_export
from tests.fakes.tiny_pair import QUESTIONS, random_image

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "ray", "sqlalchemy")

ENV = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """Its standard output, or what it says of an error when it ends with another `code`."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=ENV,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds `driftline[device]` and what it needs."""
    folder = tmp_path_factory.mktemp("light")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    install = [programs / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*install, "-c", ROOT / "constraints.txt", f"{wheel}[device]", cwd=folder)
    return programs


def test_nothing_heavy_is_installed(binaries: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util, json;"
        f"print(json.dumps([n for n in {HEAVY!r} if importlib.util.find_spec(n)]))"
    )
    assert json.loads(run(binaries / "python", "-c", code, cwd=tmp_path)) == []
    listed = run(binaries / "driftline", "--help", cwd=tmp_path)
    assert "device" in listed


def test_it_answers_from_an_export(binaries: Path, tmp_path: Path) -> None:
    _, export = make_tiny_export(tmp_path)
    image = random_image(3)
    Image.fromarray(image).save(tmp_path / "image.png")
    (wanted,) = OnnxRuntime(export, precision="int8").answer(
        [Question(image=image, text=QUESTIONS[0])]
    )
    device = [binaries / "driftline", "device"]
    asked = [*device, "ask", "image.png", QUESTIONS[0], "--pair", "export", "--json"]
    state = ["--state", tmp_path / "state"]
    answer = json.loads(run(*asked, *state, cwd=tmp_path))
    assert answer["answer"] == wanted.text
    assert answer["scores"] == pytest.approx(wanted.scores, abs=1e-5)
    prepared = [*device, "prepare", "export", "--questions", "3", "--threads", "1", "--json"]
    assert json.loads(run(*prepared, cwd=tmp_path))["precision"] in ("fp32", "int8", "int4")
    assert json.loads(run(*asked, *state, cwd=tmp_path))["version"] == 0


def test_it_runs_a_stream_and_says_how_it_is(binaries: Path, tmp_path: Path) -> None:
    _, export = make_tiny_export(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        Image.fromarray(random_image(seed)).save(photos / f"{seed}.png")
    device, state = [binaries / "driftline", "device"], ["--state", tmp_path / "state"]
    ran = run(
        *device, "run", "--source", photos, "--question", QUESTIONS[1], "--pair", export.dir,
        "--drain", "0", *state, "--json", cwd=tmp_path,
    )  # fmt: skip
    *answers, snapshot = map(json.loads, ran.splitlines())
    assert [each["place"] for each in answers] == [str(photos / f"{seed}.png") for seed in range(3)]
    assert (snapshot["num_answered"], snapshot["num_errors"]) == (3, 0)
    assert snapshot["base_model"] == export.base_model
    status = json.loads(run(*device, "status", *state, "--json", cwd=tmp_path))
    assert status["num_answered"] == 3


def test_a_shipped_pair_is_refused_with_what_to_do(binaries: Path, tmp_path: Path) -> None:
    Image.fromarray(random_image(0)).save(tmp_path / "image.png")
    ask = [binaries / "driftline", "device", "ask", "image.png", "what?", "--pair", "tiny"]
    error = run(*ask, cwd=tmp_path, code=1)
    assert "driftline_pairs" in error
    assert "driftline models export" in error


def test_the_install_holds_libraries_and_little_else(binaries: Path) -> None:
    packages = next((binaries.parent / "lib").glob("python*/site-packages"))
    ours = [file for file in packages.glob("driftline*/**/*") if file.is_file()]
    assert ours
    assert not [file for file in ours if file.suffix in {".safetensors", ".onnx"}]
    # Code and its byte code (14.1 MiB now); a student's weights would be 3 MiB more.
    assert sum(file.stat().st_size for file in ours) <= 16 * 2**20


def test_what_needs_more_says_which_extra(binaries: Path, tmp_path: Path) -> None:
    error = run(binaries / "driftline", "demo", cwd=tmp_path, code=2)
    assert "driftline[lab]" in error
    assert "Traceback" not in error


def test_recording_a_trace_says_which_extra(binaries: Path, tmp_path: Path) -> None:
    _, export = make_tiny_export(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(random_image(0)).save(tmp_path / "photos" / "image.png")
    error = run(
        binaries / "driftline", "device", "run", "--source", "photos", "--question", QUESTIONS[0],
        "--pair", export.dir, "--state", "state", "--trace", "trace", cwd=tmp_path, code=2,
    )  # fmt: skip
    assert "recording a trace needs pyarrow: pip install 'driftline[trace]'" in error
    assert "Traceback" not in error
