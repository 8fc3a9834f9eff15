"""Settings of the device: order of sources, unknown keys, sound values, one daemon per state."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.config import DeviceConfig, load_config
from driftline_device.runtime.runtime import Answer
from driftline_shared.errors import ConfigError, Reason
from driftline_shared.host.lock import state_lock
from driftline_shared.tokens import Grid, VisualTokens


def test_flags_win_over_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "device.toml"
    file.write_text(
        "batch_size = 2\npace = 1.5\n[probe]\nnum_timed = 3\n[spool]\nmax_samples = 9\n"
    )
    monkeypatch.setenv("DRIFTLINE_DEVICE_PACE", "2.5")
    monkeypatch.setenv("DRIFTLINE_DEVICE_PROBE__NUM_TIMED", "4")
    found = load_config(file, {"probe.num_timed": 5, "cloud": "127.0.0.1:7443"})
    assert (found.batch_size, found.pace, found.probe.num_timed) == (2, 2.5, 5)
    assert (found.spool.max_samples, found.cloud) == (9, "127.0.0.1:7443")
    assert found.watch == DeviceConfig.model_fields["watch"].default


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({"bach_size": 2}, "bach_size"),
        ({"probe.latency": 2}, "latency"),
        ({"spool.max": 2}, "spool"),
        ({"batch_size": 0}, "batch_size"),
        ({"cloud": "nowhere"}, "host:port"),
        ({"sampling.token_share": 2.0}, "token_share"),
        ({"watch.ratio": -1.0}, "ratio"),
        ({"runtime": "abacus"}, "runtime"),
        ({"regions.quality": 10}, "quality"),
        ({"regions.thumbnail_side": 1_000}, "thumbnail_side"),
        ({"regions.side": 10}, "side"),
        ({"images_may_leave": "perhaps"}, "images_may_leave"),
        ({"step_questions": 5, "settle_every": 5}, "leave settle_every and settle_s at 0"),
    ],
)
def test_a_wrong_setting_is_named(overrides: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        load_config(None, overrides, {})


def test_a_wrong_setting_is_answered_with_the_command_that_shows_them() -> None:
    with pytest.raises(ConfigError, match="window") as caught:
        load_config(None, {"window": "wide"}, {})
    assert "`driftline device run --print-config`" in caught.value.fix
    # Other commands have no such flag.
    assert "print-config" not in ConfigError("--rows '5' is not FIRST:END").fix


def test_no_image_leaves_unless_the_owner_says_so() -> None:
    assert load_config(None, None, {}).images_may_leave is False
    # The policy's flag of the same name asks; it is not the owner's word.
    assert load_config(None, {"sampling.images_may_leave": True}, {}).images_may_leave is False
    assert load_config(None, {"images_may_leave": True}, {}).images_may_leave is True


def test_unknown_variables_are_errors() -> None:
    with pytest.raises(ConfigError, match="DRIFTLINE_DEVICE_PAICE"):
        load_config(None, None, {"DRIFTLINE_DEVICE_PAICE": "1"})


def test_print_config_shows_what_is_in_force(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["run", "--state", str(tmp_path), "--set", "window=5", "--print-config"]
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (shown["window"], shown["state"]) == (5, str(tmp_path))


@pytest.mark.parametrize("command", ["run", "ask", "status", "rollback"])
def test_help_gives_examples(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert f"driftline device {command}" in done.stdout
    assert "codes" in done.stdout


def test_one_question_is_answered_as_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = VisualTokens(
        values=np.zeros((1, 2), np.float32),
        positions=np.zeros(1, np.int32),
        grid=Grid(rows=1, cols=1),
    )
    answer = Answer(text="red", tokens=tokens, num_steps=2, version=3, num_prompt_tokens=37)
    monkeypatch.setattr("driftline_device.program.service.ask_once", lambda *_: answer)
    done = CliRunner().invoke(app, ["ask", "a.png", "what?", "--json"])
    assert json.loads(done.stdout) == {
        "answer": "red", "scores": {}, "version": 3, "prompt_tokens": 37, "new_tokens": 2
    }  # fmt: skip
    assert CliRunner().invoke(app, ["ask", "a.png", "what?"]).stdout == "red\n"


def test_run_without_work_and_status_without_state_say_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "--state", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert "--source" in str(done.exception)
    done = CliRunner().invoke(app, ["status", "--state", str(tmp_path)])
    assert "driftline device run" in str(done.exception)


def test_two_daemons_cannot_share_a_state(tmp_path: Path) -> None:
    again = state_lock(tmp_path / "state")
    with state_lock(tmp_path / "state"):
        with pytest.raises(ConfigError, match="in use by process") as caught:
            again.__enter__()
        assert caught.value.reason is Reason.STATE_IN_USE
    with state_lock(tmp_path / "state"):
        pass
