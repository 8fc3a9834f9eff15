"""Who may come in: tokens, those who wait, those who may no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from driftline_cloud.intake.database import Database
from driftline_cloud.trust import members as members_module
from driftline_cloud.trust import tokens as tokens_module
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.members import Members, State
from driftline_cloud.trust.tokens import EnrolTokens
from driftline_shared.errors import ConfigError, LinkError, Reason

ONE, TWO, THREE = "1" * 32, "2" * 32, "3" * 32


@pytest.fixture
def database() -> Iterator[Database]:
    found = Database("sqlite://")
    yield found
    found.close()


def _ask(database: Database, identity: str, token: str = "", now_s: int = 10) -> State:
    return Members(database).ask(identity, label="", token=token, now_unix_s=now_s).state


def test_a_token_counts_its_uses_and_ends(database: Database) -> None:
    tokens = EnrolTokens(database)
    token = tokens.make(uses=1, ttl_s=60, label="shed", now_unix_s=10)
    assert _ask(database, ONE, token) is State.ACCEPTED
    assert _ask(database, ONE, token) is State.ACCEPTED  # asked again, nothing is used up
    with pytest.raises(LinkError) as caught:
        _ask(database, TWO, token)
    assert caught.value.reason is Reason.TOKEN_INVALID
    late = tokens.make(uses=5, ttl_s=60, now_unix_s=10)
    with pytest.raises(LinkError):
        _ask(database, TWO, late, now_s=71)
    assert _ask(database, TWO, late, now_s=70) is State.ACCEPTED
    assert [one.label for one in Members(database).listed()] == ["", "shed"]
    assert [one.uses_left for one in tokens.listed(now_unix_s=70)] == [4]


def test_a_token_that_fails_uses_nothing_and_lets_nobody_wait(database: Database) -> None:
    EnrolTokens(database).make(uses=1, ttl_s=60, now_unix_s=10)
    with pytest.raises(LinkError):
        _ask(database, ONE, "guessed")
    assert Members(database).listed() == []
    assert EnrolTokens(database).listed(now_unix_s=10)[0].uses_left == 1


def test_a_token_lets_in_who_waited(database: Database) -> None:
    assert _ask(database, ONE) is State.PENDING
    token = EnrolTokens(database).make(uses=1, ttl_s=60, now_unix_s=10)
    assert _ask(database, ONE, token) is State.ACCEPTED


def test_there_is_a_bound_on_tokens_and_ended_ones_make_room(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "MOST_TOKENS", 2)
    tokens = EnrolTokens(database)
    for _ in range(2):
        tokens.make(uses=1, ttl_s=60, now_unix_s=10)
    with pytest.raises(ConfigError):
        tokens.make(uses=1, ttl_s=60, now_unix_s=10)
    assert tokens.make(uses=1, ttl_s=60, now_unix_s=100)


def test_who_asks_without_a_token_costs_one_row_of_a_bounded_number(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "MOST_PENDING", 2)
    for identity in (ONE, ONE, TWO):
        assert _ask(database, identity) is State.PENDING
    with pytest.raises(LinkError) as caught:  # a flood pushes nobody out
        _ask(database, THREE)
    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    token = EnrolTokens(database).make(uses=1, ttl_s=60, now_unix_s=10)
    assert _ask(database, THREE, token) is State.ACCEPTED
    late_s = 11 + members_module.PENDING_S
    assert _ask(database, "4" * 32, now_s=late_s) is State.PENDING
    assert {one.identity for one in Members(database).listed()} == {THREE, "4" * 32}


def test_an_operator_accepts_and_revokes_by_the_first_digits(database: Database) -> None:
    members = Members(database)
    _ask(database, ONE)
    _ask(database, TWO)
    assert members.accept("11111111", now_unix_s=20).state is State.ACCEPTED
    assert members.revoke(ONE, now_unix_s=30).changed_unix_s == 30
    assert members.revoked() == {ONE}
    with pytest.raises(LinkError) as caught:
        _ask(database, ONE)
    assert caught.value.reason is Reason.REVOKED
    assert members.accept(ONE, now_unix_s=40).state is State.ACCEPTED
    assert members.revoked() == frozenset()
    for unknown in ("1", "", "9" * 32, "%" * 8, "_" * 8):
        with pytest.raises(ConfigError):
            members.accept(unknown, now_unix_s=50)


def test_an_identity_that_is_meant_by_two_is_not_guessed(database: Database) -> None:
    members = Members(database)
    for last in "ab":
        members.add("1" * 31 + last, label="", role=Role.READER, now_unix_s=1)
    with pytest.raises(ConfigError, match="several"):
        members.revoke("1" * 31, now_unix_s=1)
    assert members.revoked() == frozenset()


def test_a_label_is_kept_without_signs_that_nobody_sees(database: Database) -> None:
    member = Members(database).ask(ONE, label="\x1b[2Jporch" * 50, token="", now_unix_s=1)
    assert "\x1b" not in member.label
    assert len(member.label) <= members_module.MAX_LABEL_CHARS
