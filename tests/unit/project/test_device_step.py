"""The README's step on a device, read as a reader would type it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.unit.project.command_line import parse, words

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def step() -> list[str]:
    """The commands of the section, without what they say about themselves."""
    section = README.partition("## A device without torch\n")[2].partition("\n## ")[0]
    block = re.search(r"(?:^    .+\n)+", section, re.MULTILINE)
    assert block is not None
    return [line.split("  #")[0].strip() for line in block[0].splitlines()]


def test_its_commands_are_ones_that_there_are() -> None:
    commands = [words(line) for line in step()]
    ours = [command for command in commands if command[0] == "driftline"]
    assert {command[1] for command in ours} == {"models", "device"}
    for command in ours:
        parse(command)


def test_each_file_it_installs_or_runs_is_one_that_it_made() -> None:
    text = "\n".join(step())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    assert re.findall(r"driftline-\S+\.whl", text) == [f"driftline-{version}-py3-none-any.whl"]
    made = re.search(r"models export tiny --out (\S+)", text)
    assert made is not None
    assert set(re.findall(r"(?:prepare|--pair) (\S+)", text)) == {made[1]}


def test_no_example_asks_a_pair_that_needs_torch_without_saying_so() -> None:
    for name in ("README.md", "device/README.md", "docs/operations.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        asks = [line for line in text.splitlines() if "driftline device ask" in line]
        assert asks or name != "device/README.md"
        assert all("--pair" in line for line in asks), name
