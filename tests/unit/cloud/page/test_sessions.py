"""Who is signed in to the pages, and for how long."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.page.orders.key import NAME, page_key
from driftline_cloud.page.orders.session import HOURS, Sessions
from driftline_shared.errors import ConfigError

KEY = "a key of sixteen characters or more"


def test_who_has_the_key_is_in_until_the_time_is_over() -> None:
    sessions = Sessions(KEY)
    assert sessions.sign_in("another", "anna", now_s=0.0) is None
    assert sessions.sign_in("", "anna", now_s=0.0) is None
    cookie = sessions.sign_in(f" {KEY}\n", "Anna Müller", now_s=0.0)
    assert cookie is not None
    found = sessions.read(cookie, now_s=1.0)
    assert found is not None and found.name == "Anna Müller"
    assert sessions.read(cookie, now_s=HOURS * 3_600.0) is None
    assert Sessions(KEY + "2").read(cookie, now_s=1.0) is None


def test_each_session_has_a_word_of_its_own() -> None:
    sessions = Sessions(KEY)
    cookies = [sessions.sign_in(KEY, "anna", now_s=0.0) for _ in range(2)]
    words = [sessions.read(str(cookie), now_s=1.0) for cookie in cookies]
    assert words[0] is not None and words[1] is not None
    assert words[0].word != words[1].word
    assert words[0].word not in str(cookies[0])


@given(st.text(max_size=600))
def test_a_forged_cookie_is_nobodys(cookie: str) -> None:
    assert Sessions(KEY).read(cookie, now_s=0.0) is None


def test_a_changed_cookie_is_nobodys() -> None:
    sessions = Sessions(KEY)
    cookie = sessions.sign_in(KEY, "anna", now_s=0.0)
    assert cookie is not None
    for place in range(len(cookie)):
        other = "x" if cookie[place] != "x" else "y"
        changed = cookie[:place] + other + cookie[place + 1 :]
        assert sessions.read(changed, now_s=1.0) is None


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = page_key(tmp_path)
    assert page_key(tmp_path) == key and len(key) >= 32
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_a_broken_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read or made"):
        page_key(tmp_path / "nowhere")
    (tmp_path / NAME).write_bytes(os.urandom(5))
    with pytest.raises(ConfigError, match="shorter than 16"):
        page_key(tmp_path)


def test_what_a_kill_left_of_a_key_is_replaced(tmp_path: Path) -> None:
    (tmp_path / NAME).touch(0o600)
    key = page_key(tmp_path)
    assert len(key) >= 32 and page_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
