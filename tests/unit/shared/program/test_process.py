"""What is set up before anything of a third party is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftline_shared.program.process import FETCHERS, QUIET, set_up_process

LOCALE = "en_US.ISO-8859-1"


def test_what_calls_home_is_off_and_an_owners_own_value_stands() -> None:
    environment = {"HF_HUB_DISABLE_TELEMETRY": "0"}
    set_up_process(environment)
    assert environment == {**QUIET, "HF_HUB_DISABLE_TELEMETRY": "0"}


def test_it_comes_before_every_package_and_fetches_no_code() -> None:
    code = (
        "import sys; from driftline_shared.program import cli; import driftline_shared.program"
        ".process as process; process.set_up_process();"
        "foreign = {n.partition('.')[0] for n in sys.modules if '.' not in n}"
        " & {'typer', 'pydantic', 'numpy', 'grpc', 'structlog', 'rich'};"
        "assert not foreign, foreign\n"
        f"for package in {FETCHERS!r}:\n"
        "    try:\n        __import__(package)\n"
        "    except ModuleNotFoundError:\n        continue\n"
        "    sys.exit(f'{package} can be imported')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose locale is not UTF-8."""
    folder = tmp_path_factory.mktemp("locale")
    try:
        subprocess.run(
            ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / LOCALE)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no locale can be made here: {error}")
    held = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    return {**held, "LOCPATH": str(folder), "LC_ALL": LOCALE}


def test_settings_arguments_and_output_are_utf_8_whatever_the_locale(
    tmp_path: Path, latin_1: dict[str, str]
) -> None:
    (tmp_path / "d.toml").write_text('question = "Wie heißt das — 图?"\n', encoding="utf-8")
    command = [sys.executable, "-m", "driftline_shared.program.cli", "device", "run"]
    printed = subprocess.run(
        [*command, "--config", "d.toml", "--set", 'pair="piñata"', "--print-config"],
        cwd=tmp_path, env=latin_1, capture_output=True, check=True,
    )  # fmt: skip
    settings = json.loads(printed.stdout.decode("ascii"))
    assert (settings["question"], settings["pair"]) == ("Wie heißt das — 图?", "piñata")
    refused = subprocess.run(
        [*command, "--config", "图.toml"], cwd=tmp_path, env=latin_1, capture_output=True
    )
    assert refused.returncode == 2
    assert "图.toml" in refused.stderr.decode("utf-8")


def test_without_a_temporary_folder_libraries_are_imported_all_the_same(tmp_path: Path) -> None:
    code = (
        "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/proc/none']\n"
        "import os\n"
        "from driftline_shared.program.process import set_up_process; set_up_process()\n"
        "assert tempfile.gettempdir() == os.environ['TMPDIR']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
