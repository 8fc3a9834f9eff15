"""Who is signed in to the pages, and for how long."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.page.orders.key import NAMES, page_keys
from driftline_cloud.page.orders.session import HOURS, Sessions, may_order
from driftline_cloud.trust.issuer import Role
from driftline_shared.errors import ConfigError

KEY = "a key of sixteen characters or more"
READER = "another key that looks and orders nothing"
KEYS = {Role.OPERATOR: KEY, Role.READER: READER}


def test_who_has_the_key_is_in_until_the_time_is_over() -> None:
    sessions = Sessions(KEYS)
    assert sessions.sign_in("another", "anna", now_s=0.0) is None
    assert sessions.sign_in("", "anna", now_s=0.0) is None
    cookie = sessions.sign_in(f" {KEY}\n", "Anna Müller", now_s=0.0)
    assert cookie is not None
    found = sessions.read(cookie, now_s=1.0)
    assert found is not None and found.name == "Anna Müller" and found.role is Role.OPERATOR
    assert sessions.read(cookie, now_s=HOURS * 3_600.0) is None
    assert Sessions({Role.OPERATOR: KEY + "2"}).read(cookie, now_s=1.0) is None


def test_each_session_has_a_word_of_its_own() -> None:
    sessions = Sessions(KEYS)
    cookies = [sessions.sign_in(KEY, "anna", now_s=0.0) for _ in range(2)]
    words = [sessions.read(str(cookie), now_s=1.0) for cookie in cookies]
    assert words[0] is not None and words[1] is not None
    assert words[0].word != words[1].word
    assert words[0].word not in str(cookies[0])


@given(st.text(max_size=600))
def test_a_forged_cookie_is_nobodys(cookie: str) -> None:
    assert Sessions(KEYS).read(cookie, now_s=0.0) is None


def test_a_changed_cookie_is_nobodys() -> None:
    sessions = Sessions(KEYS)
    cookie = sessions.sign_in(KEY, "anna", now_s=0.0)
    assert cookie is not None
    for place in range(len(cookie)):
        other = "x" if cookie[place] != "x" else "y"
        changed = cookie[:place] + other + cookie[place + 1 :]
        assert sessions.read(changed, now_s=1.0) is None


def test_a_session_has_the_role_of_its_key_and_no_other() -> None:
    sessions = Sessions(KEYS)
    cookie = sessions.sign_in(READER, "anna", now_s=0.0)
    assert cookie is not None
    found = sessions.read(cookie, now_s=1.0)
    assert found is not None and found.role is Role.READER and not may_order(found)
    assert Sessions({Role.OPERATOR: KEY}).read(cookie, now_s=1.0) is None
    swapped = Sessions({Role.OPERATOR: KEY, Role.READER: KEY + "2"})
    assert swapped.read(cookie, now_s=1.0) is None, "a new key ends the sessions of the old one"


def test_where_there_is_no_key_nobody_signs_in() -> None:
    assert Sessions({}).sign_in("", "anna", now_s=0.0) is None
    assert Sessions({Role.OPERATOR: ""}).sign_in("", "anna", now_s=0.0) is None


def test_the_keys_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    keys = page_keys(tmp_path)
    assert page_keys(tmp_path) == keys and all(len(key) >= 32 for key in keys.values())
    assert len({*keys.values()}) == len(NAMES)
    for name in NAMES.values():
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_broken_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read or made"):
        page_keys(tmp_path / "nowhere")
    (tmp_path / NAMES[Role.OPERATOR]).write_bytes(os.urandom(5))
    with pytest.raises(ConfigError, match="shorter than 16"):
        page_keys(tmp_path)
    for name in NAMES.values():
        (tmp_path / name).write_text(KEY)
    with pytest.raises(ConfigError, match="one and the same"):
        page_keys(tmp_path)


def test_what_a_kill_left_of_a_key_is_replaced(tmp_path: Path) -> None:
    for name in NAMES.values():
        (tmp_path / name).touch(0o600)
    keys = page_keys(tmp_path)
    assert all(len(key) >= 32 for key in keys.values()) and page_keys(tmp_path) == keys
    for name in NAMES.values():
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {*NAMES.values()}
