"""`driftline cloud keys`, as an operator gives them, and what a device makes of it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_cloud.intake.database import Database
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout.audit import entries
from driftline_cloud.signing.ceremony import signers_in
from driftline_cloud.signing.keys import make_signer
from driftline_cloud.signing.signing import Signing
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.pair.update_root import read_root
from driftline_shared.signing.bundle import SignedState


def _read(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    _read("init", "--state", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def safe(state: Path, tmp_path: Path) -> Path:
    """Two of the root's keys, brought together; the third is elsewhere."""
    folder = tmp_path / "safe"
    folder.mkdir()
    for number in (1, 2):
        shutil.move(state / "trust" / "offline" / f"root-{number}.key", folder)
    shutil.move(state / "trust" / "offline" / "root-3.key", tmp_path / "third.key")
    return folder


def _keys(state: Path, role: str) -> set[str]:
    rows = _read("keys", "show", "--state", str(state))["roles"]
    return {key for row in rows if row["role"] == role for key in row["keys"]}


def _signing(state: Path) -> Signing:
    registry = ReleaseRegistry(state / "releases")
    return Signing(state, registry, now_s=time.time, timestamp_days=1)


def test_the_root_in_force_is_written_for_pairs(state: Path, safe: Path, tmp_path: Path) -> None:
    out = tmp_path / "pair" / "update_root.json"
    words = ("keys", "export-root", "--out", str(out), "--state", str(state))
    assert _read(*words) == {"root": 1, "file": str(out)}
    _read("keys", "renew", "--root-keys", str(safe), "--state", str(state))
    assert _read(*words)["root"] == 2
    assert read_root(out) == _signing(state).root
    other = str(tmp_path / "other")
    assert isinstance(CliRunner().invoke(app, [*words[:-1], other]).exception, DataError)


def test_show_says_what_signs_and_what_is_to_go_offline(state: Path) -> None:
    found = _read("keys", "show", "--state", str(state))
    assert [row["role"] for row in found["roles"]] == ["root", "targets", "snapshot", "timestamp"]
    assert (found["threshold"], len(found["root_keys_here"])) == (2, 3)
    assert all(row["ends_unix_s"] > time.time() for row in found["roles"])
    text = CliRunner().invoke(app, ["keys", "show", "--state", str(state)]).output
    assert text.count("move offline") == 3


def test_rotate_gives_new_online_keys_under_a_new_root(state: Path, safe: Path) -> None:
    before = {role: _keys(state, role) for role in ("targets", "snapshot", "timestamp")}
    told = _read("keys", "rotate", "--root-keys", str(safe), "--state", str(state))
    assert told == {"root": 2}
    for role, keys in before.items():
        assert not keys & _keys(state, role)
    bundle = _signing(state).bundle("none", SignedState(root=1))
    assert bundle is not None and len(bundle.roots) == 1


def test_replace_takes_a_lost_root_key_out(state: Path, safe: Path, tmp_path: Path) -> None:
    held = {signer.public_key.keyid for signer in signers_in(safe)}
    (lost,) = _keys(state, "root") - held
    new = tmp_path / "new" / "root-3.key"
    told = _read(
        "keys", "replace", lost[:10], "--root-keys", str(safe), "--out", str(new),
        "--state", str(state),
    )  # fmt: skip
    assert told["root"] == 2 and new.stat().st_mode & 0o777 == 0o600
    assert _keys(state, "root") == held | {told["key"]}
    again = _read(
        "keys", "replace", lost[:10], "--root-keys", str(safe), "--out", str(new),
        "--state", str(state),
    )  # fmt: skip
    assert again == told  # a kill may have cut the answer off
    (tmp_path / "notes.txt").write_text("mine")
    other = sorted(held)[0]
    for out in (tmp_path / "notes.txt", tmp_path / "third.key"):
        with pytest.raises(ConfigError, match="there already"):
            _read("keys", "replace", other[:10], "--root-keys", str(safe), "--out", str(out),
                  "--state", str(state))  # fmt: skip


def test_replace_takes_no_key_that_it_did_not_make(state: Path, safe: Path, tmp_path: Path) -> None:
    held = sorted(signer.public_key.keyid for signer in signers_in(safe))
    (lost,) = _keys(state, "root") - set(held)
    keys = state / "trust" / "updates" / "keys"
    foreign, line_key = tmp_path / "foreign.key", keys / "lines" / "x.key"
    for path in (foreign, line_key):
        make_signer(path)
    ours = [safe / "root-1.key", safe / "root-2.key", tmp_path / "third.key", foreign, line_key]
    words = ["--root-keys", str(safe), "--state", str(state)]
    for key in (lost, "0" * 64):  # that it has, and that it never had
        for out in [*ours, *keys.glob("*.key")]:
            with pytest.raises(ConfigError, match="there already"):
                _read("keys", "replace", key[:20], *words, "--out", str(out))
    assert _keys(state, "root") == {lost, *held}
    told = _read("keys", "replace", lost[:20], *words, "--out", str(tmp_path / "new.key"))
    for out in ours:  # the key is gone now, and another took its place
        with pytest.raises(ConfigError, match="there already"):
            _read("keys", "replace", lost[:20], *words, "--out", str(out))
    with pytest.raises(ConfigError, match="there already"):
        _read("keys", "replace", held[0][:20], *words, "--out", str(tmp_path / "new.key"))
    assert _keys(state, "root") == {told["key"], *held}


def test_what_root_keys_did_is_in_the_log(state: Path, safe: Path, tmp_path: Path) -> None:
    held = {signer.public_key.keyid for signer in signers_in(safe)}
    (lost,) = _keys(state, "root") - held
    database = Database(f"sqlite:///{state / 'cloud.sqlite'}")
    given = ["--root-keys", str(safe), "--state", str(state)]
    _read("keys", "rotate", *given)
    _read("keys", "renew", *given)
    _read("keys", "replace", lost[:10], *given, "--out", str(tmp_path / "new.key"))
    found = [(entry.action, entry.detail) for entry in entries(database)]
    database.close()
    assert [action for action, _ in found] == [
        "replace root key",
        "renew root of updates",
        "rotate keys",
    ]
    assert found[0][1].startswith("root 4: ") and found[2][1] == "root 2"


def test_a_log_that_is_away_stops_no_new_keys(state: Path, safe: Path) -> None:
    (state / "cloud.sqlite").write_bytes(b"no database at all" * 100)
    result = CliRunner().invoke(
        app, ["keys", "rotate", "--root-keys", str(safe), "--state", str(state)]
    )
    assert result.exit_code == 0 and "not in the log" in result.output
    assert "root 2 is in force" in result.output


def test_renew_prolongs_the_root(state: Path, safe: Path) -> None:
    assert _read("keys", "renew", "--root-keys", str(safe), "--state", str(state)) == {"root": 2}
    assert _signing(state).root


def test_one_root_key_is_not_enough(state: Path, safe: Path) -> None:
    (safe / "root-2.key").unlink()
    for words in (["rotate"], ["renew"]):
        with pytest.raises(ConfigError, match="it takes 2"):
            _read("keys", *words, "--root-keys", str(safe), "--state", str(state))
    assert len(_keys(state, "root")) == 3 and not (state / "trust/updates/root/2.json").exists()


def test_keys_of_another_cloud_sign_nothing(state: Path, tmp_path: Path) -> None:
    _read("init", "--state", str(tmp_path / "other"))
    theirs = tmp_path / "other" / "trust" / "offline"
    with pytest.raises(ConfigError, match="0 of the root's keys"):
        _read("keys", "rotate", "--root-keys", str(theirs), "--state", str(state))


def test_an_authority_of_before_gets_keys_once(state: Path) -> None:
    shutil.rmtree(state / "trust" / "updates")
    with pytest.raises(DataError, match="does not sign"):
        _read("keys", "show", "--state", str(state))
    assert len(_read("keys", "init", "--state", str(state))["offline"]) == 3
    with pytest.raises(ConfigError, match="already"):
        _read("keys", "init", "--state", str(state))


def test_keys_need_an_authority(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no authority"):
        _read("keys", "init", "--state", str(tmp_path))
    with pytest.raises(DataError, match="no keys for updates"):
        _read("keys", "renew", "--root-keys", str(tmp_path), "--state", str(tmp_path))
