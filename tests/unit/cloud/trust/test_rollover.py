"""A root beside the one there is, whatever is cut off in between; who has yet to come."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_cloud.trust.authority import (
    FOLDER,
    ISSUING,
    NEXT_ROOT,
    make_authority,
    read_authority,
    renew_issuing,
)
from driftline_cloud.trust.issuer import LocalIssuer, Role
from driftline_cloud.trust.members import Member, State
from driftline_cloud.trust.rollover import begin, finish, note_served, served_since, yet_to_come
from driftline_shared.errors import ConfigError
from driftline_shared.trust.certificates import leads_to, read_chain, to_pem
from driftline_shared.trust.keys import new_key

DAY_S = 86_400


@pytest.fixture
def state(tmp_path: Path) -> Path:
    make_authority(tmp_path / "state", name="tests")
    return tmp_path / "state"


def test_devices_get_chains_of_the_new_root_and_the_server_shows_the_old_one(
    state: Path, tmp_path: Path
) -> None:
    old = read_authority(state).root
    authority = begin(state, tmp_path / "safe" / "root-2.key")
    assert authority.root == old and authority.next_root is not None
    issuer, public = LocalIssuer(authority), new_key().key.public_key()
    of_device = read_chain(issuer.issue(public, Role.DEVICE))
    of_server = read_chain(issuer.issue(public, Role.SERVER))
    assert leads_to(of_device, authority.next_root) and not leads_to(of_device, old)
    assert leads_to(of_server, old)
    assert issuer.role_of(of_device[0]) is Role.DEVICE, "one issuing key in both chains"
    assert read_chain(issuer.roots_pem) == [old, authority.next_root]
    after = finish(state)
    assert after.root == authority.next_root and after.next_root is None
    assert leads_to(read_chain(LocalIssuer(after).issue(public, Role.SERVER)), after.root)
    assert read_authority(state).root == after.root
    assert not (state / FOLDER / NEXT_ROOT).exists()


def test_a_finish_that_was_killed_is_done_by_who_reads_next(state: Path, tmp_path: Path) -> None:
    authority = begin(state, tmp_path / "root-2.key")
    assert authority.next_issuing is not None
    (state / FOLDER / f"{ISSUING}.pem").write_bytes(to_pem([authority.next_issuing]))
    found = read_authority(state)
    assert (found.root, found.next_root) == (authority.next_root, None)
    assert read_authority(state).issuing == found.issuing == authority.next_issuing


def test_what_cannot_be_done_now_is_a_sentence(state: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no root is being rolled over"):
        finish(state)
    (tmp_path / "there.key").write_text("x")
    with pytest.raises(ConfigError, match="is there already"):
        begin(state, tmp_path / "there.key")
    with pytest.raises(ConfigError, match="is copied with the cloud"):
        begin(state, state / FOLDER / "root-2.key")
    begin(state, tmp_path / "root-2.key")
    with pytest.raises(ConfigError, match="rolled over already"):
        begin(state, tmp_path / "root-3.key")
    with pytest.raises(ConfigError, match="both roots vouch"):
        renew_issuing(state, state / FOLDER / "root.key", distrust=True)
    finish(state)
    assert renew_issuing(state, tmp_path / "root-2.key", distrust=True).before == ()


def test_nobody_has_come_before_a_cloud_served_with_both(state: Path, tmp_path: Path) -> None:
    begin(state, tmp_path / "root-2.key")
    assert served_since(state) == float("inf")
    note_served(state, read_authority(state), now_unix_s=100.7)
    note_served(state, read_authority(state), now_unix_s=200.0)  # another start
    assert served_since(state) == 100
    finish(state)
    begin(state, tmp_path / "root-3.key")
    assert served_since(state) == float("inf"), "that was another root"


def test_who_has_yet_to_come_has_a_certificate_that_holds_and_is_older() -> None:
    def member(name: str, ends_days: float, **changes: object) -> Member:
        facts = {"role": Role.DEVICE, "state": State.ACCEPTED, **changes}
        return Member(
            identity=name,
            label="",
            added_unix_s=0,
            changed_unix_s=0,
            not_after_unix_s=int(ends_days * DAY_S),
            **facts,  # type: ignore[arg-type]
        )

    members = [
        member("older", 130),
        member("newer", 130.1),
        member("ended", 119),
        member("never came", 0),
        member("revoked", 125, state=State.REVOKED),
        member("anna", 125, role=Role.OPERATOR),
    ]
    found = yet_to_come(members, since_unix_s=100 * DAY_S, days=30, now_unix_s=120 * DAY_S)
    assert [one.identity for one in found] == ["older"]
