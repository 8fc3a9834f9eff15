"""`driftline cloud init`, `enrol-token` and `member`, as an operator gives them."""

from __future__ import annotations

import itertools
import json
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_cloud.intake.database import Database
from driftline_cloud.rollout.audit import entries
from driftline_cloud.signing.files import SigningFiles
from driftline_cloud.signing.whole import trouble
from driftline_cloud.trust import operator
from driftline_cloud.trust.authority import has_authority, read_authority
from driftline_cloud.trust.issuer import LocalIssuer, Role
from driftline_cloud.trust.members import Members
from driftline_cloud.trust.operator import VARIABLE, mend_operator, operator_credentials
from driftline_cloud.trust.trust import open_trust
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.trust.certificates import is_issued_by, read_chain
from driftline_shared.trust.credentials import read_credentials
from driftline_shared.trust.invitation import read_invitation
from driftline_shared.trust.keys import read_key
from tests.fakes.killing import KILL, Killed, killed_at

ONE = "1" * 32


def _say(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _read(*arguments: str) -> Any:
    return json.loads(_say(*arguments, "--json"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of a cloud that has an authority and was started once."""
    folder = tmp_path / "state"
    _say("init", "--state", str(folder))
    Database(f"sqlite:///{folder / 'cloud.sqlite'}").close()
    return folder


def test_init_says_what_goes_offline_and_nobody_else_reads_the_keys(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    told = _read("init", "--state", str(folder))
    root_keys = [f"offline/root-{number}.key" for number in (1, 2, 3)]
    assert told["offline"] == [str(folder / "trust" / name) for name in ("root.key", *root_keys)]
    signing = [f"updates/keys/{role}.key" for role in ("targets", "snapshot", "timestamp")]
    for name in ("root.key", "issuing.key", "operator/key.pem", *root_keys, *signing):
        assert stat.S_IMODE((folder / "trust" / name).stat().st_mode) == 0o600
    assert told["fingerprint"] == read_authority(folder).fingerprint
    with pytest.raises(ConfigError, match="already"):
        _say("init", "--state", str(folder))


def test_a_kill_at_any_write_of_init_is_gone_on_from_by_giving_it_again(tmp_path: Path) -> None:
    for num_writes in itertools.count():
        folder = tmp_path / str(num_writes)
        with killed_at(num_writes) as writes:
            _say("init", "--state", str(folder))
        if KILL not in writes:
            return
        if not has_authority(folder):
            _say("init", "--state", str(folder))
        authority = read_authority(folder)
        mend_operator(folder, authority)  # as a start does
        key = read_key(folder / "trust" / "root.key")
        assert key.key.public_key() == authority.root.public_key(), writes
        assert read_credentials(folder / "trust" / "operator"), writes
        assert trouble(SigningFiles(folder)) == "", writes


def test_distrust_is_made_whole_by_a_start_and_is_in_the_log(state: Path) -> None:
    folder, root_key = state / "trust" / "operator", state / "trust" / "root.key"
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(operator, "mend_operator", _killed)
        _say("renew-issuing", "--root-key", str(root_key), "--distrust", "--state", str(state))
    authority = read_authority(state)
    before = read_credentials(folder)
    database = Database(f"sqlite:///{state / 'cloud.sqlite'}")
    open_trust(state, database, now_s=time.time, days=30)
    now = read_credentials(folder)
    assert now.chain != before.chain and now.identity == before.identity
    assert is_issued_by(read_chain(now.chain)[0], authority.issuing)
    assert not mend_operator(state, authority)
    _say("renew-issuing", "--root-key", str(root_key), "--distrust", "--state", str(state))
    assert [(entry.action, entry.detail) for entry in entries(database)] == [
        ("renew issuing key", "distrust the one before")
    ]
    database.close()


def _killed(*_: object) -> bool:
    raise Killed


def test_a_cloud_without_an_authority_invites_nobody(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}").close()
    for words in (["enrol-token"], ["member", "list"], ["member", "revoke", ONE]):
        with pytest.raises(DataError, match="no authority"):
            _say(*words, "--state", str(tmp_path))


def test_an_invitation_names_the_cloud_and_its_root(state: Path) -> None:
    asked = ["enrol-token", "--state", str(state), "--address", "cloud.example:7443"]
    found = read_invitation(_say(*asked))
    assert (found.address, found.root) == ("cloud.example:7443", read_authority(state).fingerprint)
    assert found.token
    assert read_invitation(_say(*asked, "--no-token")).token == ""
    told = _read(*asked, "--uses", "3", "--ttl", "7d")
    assert read_invitation(told["invitation"]).token
    for wrong in ("", "1", "0h", "-1h", "1y", "9999999999d", "h"):
        with pytest.raises(ConfigError, match="--ttl"):
            _say(*asked, "--ttl", wrong)


def test_an_operator_sees_who_waits_accepts_and_revokes(state: Path) -> None:
    database = Database(f"sqlite:///{state / 'cloud.sqlite'}")
    Members(database).ask(ONE, label="porch", token="", now_unix_s=1)
    given = ["--state", str(state)]
    assert _read("member", "list", "--pending", *given)["members"][0]["label"] == "porch"
    assert _read("member", "accept", ONE[:8], *given)["state"] == "accepted"
    assert "nobody waits" in _say("member", "list", "--pending", *given)
    assert _read("member", "revoke", ONE, *given)["state"] == "revoked"
    assert Members(database).revoked() == {ONE}
    database.close()


def test_who_revokes_what_they_show_themselves_is_asked(state: Path) -> None:
    """Nobody can be asked here: it takes --yes. Others are revoked as before."""
    own = operator_credentials(state, environment={})
    assert own is not None
    database = Database(f"sqlite:///{state / 'cloud.sqlite'}")
    members = Members(database)
    members.add(own.identity, label="this machine", role=Role.OPERATOR, now_unix_s=1)
    words = ["member", "revoke", own.identity[:12], "--state", str(state)]
    with pytest.raises(ConfigError, match="commands on this machine") as caught:
        _say(*words)
    assert "--yes" in caught.value.fix and not members.revoked()
    assert _read(*words, "--yes")["state"] == "revoked"
    database.close()


def test_what_was_done_is_in_the_log(state: Path, tmp_path: Path) -> None:
    given = ["--state", str(state)]
    _say("enrol-token", "--uses", "20", "--label", "hall", "--address", "c.example:1", *given)
    _say("member", "add", "anna", "--out", str(tmp_path / "anna"), *given)
    root_key = str(state / "trust" / "root.key")
    _say("renew-issuing", "--root-key", root_key, "--distrust", *given)
    _say("keys", "renew", "--root-keys", str(state / "trust" / "offline"), *given)
    found = _read("release", "log", *given)
    assert [one["action"] for one in found] == [
        "renew root of updates",
        "renew issuing key",
        "add reader",
        "invite",
    ]
    assert "distrust" in found[1]["detail"] and "anna" in found[2]["detail"]
    assert found[3]["detail"].startswith("20 devices") and "hall" in found[3]["detail"]
    assert all(one["who"] for one in found)


def test_a_reader_and_an_operator_get_a_folder_of_their_own(state: Path, tmp_path: Path) -> None:
    for role in ("reader", "operator"):
        out = tmp_path / role
        words = ["member", "add", "anna", "--role", role, "--out", str(out), "--state", str(state)]
        told = _read(*words)
        found = read_credentials(out)
        assert told["identity"] == found.identity
        assert LocalIssuer(read_authority(state)).role_of(found.certificate) is Role(role)
        with pytest.raises(ConfigError, match="not empty"):
            _say(*words)


def test_a_variable_that_names_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=VARIABLE) as caught:
        operator_credentials(tmp_path, environment={VARIABLE: str(tmp_path / "typo")})
    assert "member add" in caught.value.fix
    assert operator_credentials(tmp_path, environment={}) is None
