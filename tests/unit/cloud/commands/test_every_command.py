"""Every command of an operator ends alike where there is no cloud, no such line, or a flag is
wrong: 1 for a fault of the outside, 2 for the command line, a sentence and its fix, also as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from driftline_cloud.cli import app
from driftline_cloud.intake.database import Database
from driftline_shared.program import cli

ARGUMENTS = {
    "sample_id": "0" * 32,
    "ids": "0" * 32,
    "devices": "cam-1",
    "group": "nope",
    "line": "nope",
    "pair": "tiny",
    "folder": "new-folder",
    "address": "127.0.0.1:1",
    "identity": "nobody",
    "name": "me",
    "key": "0123abcd",
}
FLAGS = {
    "to": "1",
    "state": "new-state",
    "name": "me",
    "out": "new-folder",
    "root_keys": "new-folder",
    "root_key": "root.key",
}
OWN_WAY = {
    "serve": "makes a cloud",
    "work": "makes a cloud",
    "init": "makes a cloud",
    "doctor": "a cloud that is not there is a finding",
    "restore": "its --state is to be new",
    "up": "of Ray",
    "join": "of Ray",
    "check": "of Ray",
    "token": "of Ray",
}
"""Commands that do not look at a cloud that is there. `check` is that of `cluster`."""


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from _leaves(one, (*path, name))
    else:
        yield path, command


COMMANDS = dict(_leaves(typer.main.get_command(app)))
ASKING = [path for path in COMMANDS if path[-1] not in OWN_WAY or path == ("database", "check")]
JSON = [path for path in ASKING if any("--json" in one.opts for one in COMMANDS[path].params)]

Told = tuple[int, str, str]


def _words(path: tuple[str, ...]) -> list[str]:
    """The command with what it cannot do without."""
    words = list(path)
    for one in COMMANDS[path].params:
        if one.param_type_name == "argument" and (one.required or one.name == "ids"):
            words.append(ARGUMENTS[one.name])
        elif one.required:
            words += [one.opts[0], FLAGS[one.name]]
    return words


@pytest.fixture
def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Told]:
    """Run `driftline cloud` with those words: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["driftline", "cloud", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


@pytest.mark.parametrize("path", ASKING, ids=" ".join)
def test_where_no_cloud_was_it_is_a_sentence_and_nothing_is_made(
    told: Callable[..., Told], tmp_path: Path, path: tuple[str, ...]
) -> None:
    code, out, err = told(*_words(path), "--state", "typo")
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and "\n  fix: " in err and "typo" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", JSON, ids=" ".join)
def test_for_machines_it_is_an_object(told: Callable[..., Told], path: tuple[str, ...]) -> None:
    code, out, err = told(*_words(path), "--state", "typo", "--json")
    found = json.loads(err)
    assert (code, out) == (1, "")
    assert "typo" in found["error"] and found["fix"] and found["reason"]


def test_all_that_show_something_can_show_it_to_machines() -> None:
    assert {path for path in ASKING if path not in JSON} == {("page",)}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_flag_that_there_is_not_is_the_command_lines_fault(
    told: Callable[..., Told], path: tuple[str, ...]
) -> None:
    code, out, err = told(*_words(path), "--no-such-flag")
    assert (code, out) == (2, "") and "--no-such-flag" in err


@pytest.mark.parametrize("path", [path for path in ASKING if path[0] != "page"], ids=" ".join)
def test_a_file_that_is_no_database_is_a_fault_of_the_disk(
    told: Callable[..., Told], tmp_path: Path, path: tuple[str, ...]
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "cloud.sqlite").write_bytes(b"no database" * 1_000)
    code, out, err = told(*_words(path), "--state", "state")
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and "\n  fix: " in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("backup", "file", "--state", "state"), "file is a file"),
        (("backup", "file/below", "--state", "state"), "fix: Name another folder"),
        (("restore", "file", "--state", "new"), "file is no backup"),
        (("restore", "none", "--state", "new"), "none is no backup"),
        (("line", "add", "none", "--state", "state"), "no pair 'none'"),
    ],
)
def test_a_wrong_place_is_a_sentence(
    told: Callable[..., Told], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "state").mkdir()
    Database(f"sqlite:///{tmp_path / 'state' / 'cloud.sqlite'}").close()
    code, out, err = told(*words)
    assert (code, out) == (1, "") and said in err and "\n  fix: " in err


OF_A_LINE = [
    path
    for path in ASKING
    if any(one.name == "line" for one in COMMANDS[path].params) and path != ("round", "start")
]


@pytest.mark.parametrize("path", OF_A_LINE, ids=" ".join)
def test_a_line_that_there_is_not_is_the_same_fault_everywhere(
    told: Callable[..., Told], tmp_path: Path, path: tuple[str, ...]
) -> None:
    Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}").close()
    is_argument = COMMANDS[path].params[0].param_type_name == "argument"
    line = [] if "nope" in _words(path) and is_argument else ["--line", "nope"]
    code, out, err = told(*_words(path), *line, "--state", str(tmp_path), "--json")
    found = json.loads(err)
    assert (code, out, found["reason"]) == (1, "", "line_unknown")
    assert "nope" in found["error"]
