"""What a source may be called, and that no password is shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from driftline_device.config import load_config
from driftline_device.sources import capture
from driftline_device.sources.address import without_secrets
from driftline_device.sources.table import SourceSettings, open_all, open_source, parse_address
from driftline_shared.errors import ConfigError, DataError
from tests.fakes.videos import write_video


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [
        ("s.jsonl", "dataset", "s.jsonl"),
        ("s.NDJSON", "dataset", "s.NDJSON"),
        ("clip.MP4", "video", "clip.MP4"),
        ("watch:photos/", "watched", "photos/"),
        ("camera:0", "camera", "0"),
        ("camera:/dev/video2", "camera", "/dev/video2"),
        ("rtsp://h:554/a", "stream", "rtsp://h:554/a"),
        ("HTTP://h/a.mp4", "stream", "HTTP://h/a.mp4"),
    ],
)
def test_a_text_names_a_kind_of_source(text: str, kind: str, target: str) -> None:
    address = parse_address(text)
    assert (address.kind, address.target) == (kind, target)


def test_a_folder_is_one_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "day.mp4"
    folder.mkdir()
    assert parse_address(str(folder)).kind == "folder"


@pytest.mark.parametrize("text", ["x.csv", "", "camera:", "watch:", "ftp://u:pw@h/x", "nowhere/"])
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(DataError) as told:
        parse_address(text)
    assert "pw" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://me:pw@cam:554/ch1", "rtsp://cam:554/ch1"),
        ("rtsp://me:p@w@cam/ch1?pw=pw#pw", "rtsp://cam/ch1"),
        ("http://cam/x?user=me&pwd=pw", "http://cam/x"),
        ("http://[::1/x?pw", "http://..."),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
    assert parse_address(url).shown == shown


@pytest.mark.parametrize("text", ["watch:rtsp://u:pw@h/a", "camera:rtsp://u:pw@h/a", "://u:pw@h"])
def test_a_wrong_address_shows_no_secret_either(text: str) -> None:
    with pytest.raises(DataError) as refused:
        parse_address(text)
    assert "pw" not in str(refused.value)


def test_settings_show_sources_without_secrets_and_keep_them() -> None:
    config = load_config(None, {"sources": ["a/", "rtsp://me:pw@cam/1"]}, {})
    assert config.sources == ("a/", "rtsp://me:pw@cam/1")
    assert '"sources":["a/","rtsp://cam/1"]' in config.model_dump_json()
    assert "pw" not in config.model_dump_json()


@pytest.mark.parametrize(
    "setting",
    [
        {"frames.every_s": -1.0},
        {"frames.min_change": 1.0},
        {"frames.timeout_s": 0.0},
        {"folder.rescan_s": -1.0},
        {"frames.rate": 1.0},
        {"sources": "one"},
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting)).partition(".")[0]):
        load_config(None, setting, {})


def test_what_comes_after_a_source_without_an_end_is_refused(tmp_path: Path) -> None:
    texts = [f"watch:{tmp_path}", "http://me:pw@h/x"]
    with pytest.raises(ConfigError, match=r"never ends, so http://h/x after it") as told:
        open_all(texts, SourceSettings(question="what?"))
    assert "pw" not in str(told.value)
    assert [each.name for each in open_all(texts[:1], SourceSettings(question="what?"))] == [
        tmp_path.name
    ]


@pytest.mark.parametrize("text", ["watch:{}", "{}/clip.avi", "http://h/x"])
def test_a_question_is_needed(tmp_path: Path, text: str) -> None:
    write_video(tmp_path / "clip.avi", [1])
    with pytest.raises(DataError, match="give a question"):
        open_source(text.format(tmp_path), SourceSettings(question=" "))


def test_a_watched_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        open_source(f"watch:{tmp_path}/none", SourceSettings(question="what?"))


def test_a_camera_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture.sys, "platform", "linux")
    monkeypatch.setattr(capture, "DEVICES", tmp_path)
    with pytest.raises(DataError, match=r"no camera 7 .*cameras of this device: none"):
        open_source("camera:7", SourceSettings(question="what?"))
    for name in ("video10", "video2", "videograph"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"no camera 2 .*: video2, video10$"):
        open_source("camera:2", SourceSettings(question="what?"))  # a plain file is no camera


def test_a_camera_without_permission_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture.sys, "platform", "linux")
    monkeypatch.setattr(capture.stat, "S_ISCHR", lambda mode: stat.S_ISREG(mode))
    monkeypatch.setattr(capture.os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match="no permission; join the group"):
        open_source(f"camera:{__file__}", SourceSettings(question="what?"))


@pytest.mark.parametrize("text", ["{}/clip.avi", "rtsp://h/x"])
def test_without_opencv_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    write_video(tmp_path / "clip.avi", [1])
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"pip install 'driftline\[camera\]'"):
        open_source(text.format(tmp_path), SourceSettings(question="what?"))
