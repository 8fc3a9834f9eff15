"""The command finds its sub-commands, and errors are a cause, a fix and an exit code."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from driftline_shared.errors import ConfigError, DataError
from driftline_shared.pair.pair import find_pair
from driftline_shared.program import cli, extras


def test_it_shows_the_commands_of_this_install() -> None:
    result = CliRunner().invoke(cli.build(), ["--help"])
    assert result.exit_code == 0
    for name in ("device", "cloud", "lab", "demo", "models", "version"):
        assert name in result.output


@pytest.mark.parametrize(
    "error, code", [(ConfigError("a key is wrong"), 2), (DataError("row 3 is wrong"), 1)]
)
def test_an_error_of_ours_is_cause_fix_and_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error, code: int
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli, "build", lambda: fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    told = capsys.readouterr().err
    assert str(error) in told
    assert error.fix in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("words", "error", "code", "told"),
    [
        (["look", "--json"], DataError("row 3 is wrong", fix="Mend it."), 1, "row 3 is wrong"),
        (["look", "--json"], ConfigError("a key is wrong"), 2, "a key is wrong"),
        (["look", "--json"], OSError(errno.ENOSPC, "No space left on device"), 1, "No space left"),
        (["look", "--jsn", "--json"], None, 2, "No such option: --jsn"),
        (["look", "--most", "x", "--json"], None, 2, "'--most'"),
        (["lok", "--json"], None, 2, "No such command 'lok'"),
    ],
)
def test_under_json_an_error_is_one_object_on_standard_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    error: Exception | None,
    code: int,
    told: str,
) -> None:
    app = typer.Typer()

    @app.command()
    def look(
        as_json: Annotated[bool, typer.Option("--json")] = False,
        most: Annotated[int, typer.Option("--most")] = 1,
    ) -> None:
        if error is not None:
            raise error

    app.callback()(lambda: None)
    monkeypatch.setattr(cli, "build", lambda: app)
    monkeypatch.setattr(sys, "argv", ["driftline", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    found = json.loads(said.err)
    assert (ended.value.code, said.out) == (code, "")
    assert set(found) == {"error", "fix", "reason"} and all(found.values())
    assert told in found["error"]


@pytest.mark.parametrize(("ends", "code"), [(None, 0), (typer.Exit(1), 1)])
def test_under_json_a_command_ends_as_it_does_without(
    monkeypatch: pytest.MonkeyPatch, ends: typer.Exit | None, code: int
) -> None:
    app = typer.Typer()

    @app.command()
    def look(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
        if ends is not None:
            raise ends

    monkeypatch.setattr(cli, "build", lambda: app)
    monkeypatch.setattr(sys, "argv", ["driftline", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code


@pytest.mark.parametrize("place", [None, "/far/file"])
def test_a_full_disk_is_cause_and_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str | None
) -> None:
    def fails() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", place)

    monkeypatch.setattr(cli, "build", lambda: fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told and (place or "") in told
    assert "make room" in told and "Traceback" not in told


def test_a_command_that_ctrl_c_ended_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def works() -> None:
        raise KeyboardInterrupt

    def interrupted() -> typer.Typer:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["driftline"])
    for build in (lambda: app, interrupted):
        monkeypatch.setattr(cli, "build", build)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 130
        assert capsys.readouterr().err == "stopped: Ctrl-C (SIGINT)\n"


def test_a_command_that_this_install_cannot_run_is_not_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = extras.find_spec
    lacking = {"torch", "ray"}
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in lacking else found(name))
    listed = CliRunner().invoke(cli.build(), ["--help"]).output
    names = {line.strip("│ ").partition(" ")[0] for line in listed.splitlines()}
    assert names & {"version", *cli.EXTRAS} == {"version", "device", "models"}
    for name, extra in (("demo", "lab"), ("cloud", "cloud")):
        monkeypatch.setattr(sys, "argv", ["driftline", name, "--help"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        told = capsys.readouterr().err
        assert f"driftline[{extra}]" in told and "Traceback" not in told


def test_the_version_is_a_flag_and_flags_are_shown_without_a_type() -> None:
    app, asked = cli.build(), CliRunner()
    told = asked.invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, f"driftline {metadata.version('driftline')}\n")
    shown = asked.invoke(app, ["device", "run", "--help"], env={"COLUMNS": "120"}).output
    assert "--hold" in shown and "<bool>" not in shown
    assert "--install-completion" in asked.invoke(app, ["--help"]).output


def test_another_error_of_the_system_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(cli, "build", lambda: fails)
    with pytest.raises(OSError, match="Bad file"):
        cli.main()


def test_a_package_that_this_install_lacks_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli, "build", lambda: fails)
    monkeypatch.setattr(sys, "argv", ["driftline", "demo"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "torch" in told and "driftline[lab]" in told


def test_pairs_are_signed_and_verified_without_torch(tmp_path: Path) -> None:
    """And what does need it names the package and the extra."""
    pair = tmp_path / "pair"
    shutil.copytree(find_pair("tiny").parent, pair)
    without = "import sys; sys.modules.update(torch=None, transformers=None); "
    run = f"{without}from driftline_shared.program.cli import main; main()"

    def models(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", run, "models", *words]
        return subprocess.run(command, text=True, capture_output=True, check=False)

    key = str(tmp_path / "pairs.key")
    assert models("sign", str(pair), "--key", key, "--make-key").returncode == 0
    assert models("verify", str(pair), "--trust", f"{key}.pub").returncode == 0
    (pair / "pair.toml").write_text("changed")
    told = models("verify", str(pair), "--trust", f"{key}.pub")
    assert told.returncode == 1 and "pair.toml" in told.stderr
    told = models("export", "tiny", "--out", str(tmp_path / "export"))
    assert told.returncode == 2 and "driftline[export]" in told.stderr


def test_every_command_names_an_extra_of_the_project() -> None:
    commands = {entry.name for entry in metadata.entry_points(group=cli.GROUP)}
    extras = set(metadata.metadata("driftline").get_all("Provides-Extra") or ())
    assert commands == set(cli.EXTRAS)
    assert set(cli.EXTRAS.values()) <= extras


def test_help_needs_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; from driftline_shared.program.cli import build; build();"
        "heavy = {'torch', 'transformers', 'ray', 'peft'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
