"""Only the files whose digests are fixed are kept, and what is there is not fetched again."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from driftline_lab.data.emoji import fetch
from driftline_lab.data.emoji.fetch import copied_from, fetch_packages, npm_pack
from driftline_lab.data.emoji.packages import PACKAGES, Package
from driftline_shared.errors import ConfigError, DataError, LinkError, MissingPackageError

CONTENTS = {"one": b"first", "two": b"second"}


def package(name: str) -> Package:
    sha512 = base64.b64encode(hashlib.sha512(CONTENTS[name]).digest()).decode()
    return Package(name=f"@icons/{name}", version="1.0", sha512=sha512, by="us", licence="MIT")


BOTH = [package("one"), package("two")]


class Registry:
    """Stands for npm: counts what it is asked for, and may give something else."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.asked: list[str] = []

    def __call__(self, wanted: Package, folder: Path) -> None:
        self.asked.append(wanted.spec)
        (folder / wanted.file).write_bytes(self.contents[wanted.name.partition("/")[2]])


def test_a_fetch_that_was_stopped_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    registry, lines = Registry(CONTENTS), list[str]()
    fetch_packages(BOTH[:1], tmp_path, registry)
    fetch_packages(BOTH, tmp_path, registry, lines.append)
    assert registry.asked == ["@icons/one@1.0", "@icons/two@1.0"]
    assert [line.partition(":")[2].split(",")[0] for line in lines] == [
        " is there", " fetching …", " fetched",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {each.file for each in BOTH}


def test_a_file_that_was_spoilt_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / BOTH[0].file).write_bytes(b"spoilt")
    fetch_packages(BOTH[:1], tmp_path, Registry(CONTENTS))
    assert (tmp_path / BOTH[0].file).read_bytes() == CONTENTS["one"]


def test_another_file_than_the_fixed_one_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"@icons/one@1\.0: .* sha512"):
        fetch_packages(BOTH, tmp_path, Registry({"one": b"changed", "two": b"second"}))
    assert not list(tmp_path.iterdir())


def test_files_may_come_from_a_folder(tmp_path: Path) -> None:
    source, place = tmp_path / "there", tmp_path / "here"
    source.mkdir()
    (source / BOTH[0].file).write_bytes(CONTENTS["one"])
    with pytest.raises(ConfigError, match="cannot read") as caught:
        fetch_packages(BOTH, place, copied_from(source))
    assert "npm pack @icons/two@1.0" in caught.value.fix
    assert (place / BOTH[0].file).read_bytes() == CONTENTS["one"]


def test_without_npm_the_way_round_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    with pytest.raises(MissingPackageError, match="npm is not installed") as caught:
        npm_pack(BOTH[0], tmp_path)
    assert "--from" in caught.value.fix


def test_an_npm_that_fails_is_told_in_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    npm = tmp_path / "npm"
    said = "npm error code E404\nnpm error 404 not there\nnpm error A complete log is in ./log\n"
    npm.write_text(f"#!/bin/sh\nprintf '{said}' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: str(npm))
    with pytest.raises(LinkError, match="404 not there") as caught:
        npm_pack(BOTH[0], tmp_path)
    assert "--from" in caught.value.fix


def test_every_fixed_digest_is_a_sha512_of_its_own() -> None:
    digests = [base64.b64decode(each.sha512, validate=True) for each in PACKAGES.values()]
    assert {len(digest) for digest in digests} == {64}
    assert len(set(digests)) == len(PACKAGES)
    assert PACKAGES["noto"].file == f"iconify-json-noto-{PACKAGES['noto'].version}.tgz"
