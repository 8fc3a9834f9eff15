"""Settings: file, then environment, then flags; a wrong key is an error that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from driftline_shared.errors import ConfigError
from driftline_shared.program.config import (
    NESTED,
    LogConfig,
    ProgramSettings,
    load_settings,
    parse_assignment,
)
from driftline_shared.program.policy import Policy
from driftline_shared.program.section import Entry, Section, entries, setting
from driftline_shared.tokens import SamplingPolicy


class Inner(Section):
    depth: int = setting(1, "how deep", ge=0)


class Part(Section):
    size: int = setting(1, "how large")
    share: float = setting(0.5, "how much", live=True)
    sure: bool = setting(False, "whether it is")
    inner: Inner = Inner()


class Top(Section):
    mood: str = setting("calm", "a key of a part at the top of the file")


class Example(ProgramSettings, Top):
    model_config = SettingsConfigDict(
        env_prefix="EXAMPLE_", env_nested_delimiter=NESTED, extra="forbid", frozen=True
    )

    name: str = setting("default", "of it")
    places: tuple[str, ...] = setting((), "of it")
    part: Part = Part()
    log: LogConfig = LogConfig()
    sampling: Policy = SamplingPolicy()


def load(file: Path | None = None, flags=None, environment=None) -> Example:
    return load_settings(Example, file, flags, environment or {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.toml"
    path.write_text('name = "file"\n[part]\nsize = 7\n')
    return path


def test_defaults_file_environment_flags_in_rising_order(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().name == "default"
    assert load(file).name == "file"
    monkeypatch.setenv("EXAMPLE_NAME", "environment")
    assert load(file).name == "environment"
    assert load(file, {"name": "flag"}).name == "flag"
    assert load(file).part.size == 7


def test_a_section_is_set_key_by_key(file: Path) -> None:
    found = load(file, {"part.share": 0.25, "part.inner.depth": 3})
    assert (found.part.share, found.part.inner.depth) == (0.25, 3)


@pytest.mark.parametrize(
    "text, message",
    [
        ("nmae = 1", "nmae"),
        ("[part]\nsiez = 1", "part.siez: unknown key; known are inner, share, size, sure"),
        ("[part.inner]\ndeep = 1", "part.inner.deep: unknown key; known are depth"),
        ('[part]\nsize = "many"', "part.size: is a whole number"),
        ("[part.inner]\ndepth = -1", "part.inner.depth: is at least 0, not -1"),
        ("[part.inner]\ndepth = nan", "part.inner.depth"),
        ("[part.inner]\ndepth = 1.5", "part.inner.depth: is a whole number, not 1.5"),
        ("name = 3", "name: is a text, not 3"),
        ("part = 3", "part: is a section"),
        ('places = "here"', r'places: is a list: \["a", "b"\]'),
        ('[log]\nlevel = "loud"', "log.level: is 'debug', 'info'"),
        ('[part]\nsure = "perhaps"', "part.sure: is true or false"),
        ("[sampling]\ncolour = 1", "sampling: .*colour.*token_share"),
        ("[sampling]\ntoken_share = 2.0", "sampling: .*token_share is 2.0"),
        ("name = [", "not TOML"),
    ],
)
def test_a_wrong_file_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path)


@pytest.mark.parametrize("name", ["EXAMPLE_PLACES", "EXAMPLE_PART"])
def test_a_list_in_the_environment_says_how_it_is_written(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "here,there")
    with pytest.raises(ConfigError, match=rf"{name}: a list is written as JSON, {name}='\["):
        load()


def test_settings_before_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('name = "Wie heißt das?"\n', encoding="utf-8-sig")
    assert load(tmp_path / "x.toml").name == "Wie heißt das?"


def test_a_wrong_flag_or_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="part"):
        load(flags={"part.nothing": 1})
    with pytest.raises(ConfigError, match="EXAMPLE_NOTHING"):
        load(environment={"EXAMPLE_NOTHING": "1"})
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        load(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "text, found",
    [
        ("a.b=7", ("a.b", 7)),
        ('a.b="7"', ("a.b", "7")),
        ("a=0.5", ("a", 0.5)),
        ("a=true", ("a", True)),
        ("a=plain words", ("a", "plain words")),
    ],
)
def test_an_assignment_is_a_toml_literal_or_text(text: str, found: tuple[str, object]) -> None:
    assert parse_assignment(text) == found


def test_an_assignment_without_equals_is_refused() -> None:
    with pytest.raises(ConfigError, match="key=value"):
        parse_assignment("nonsense")


def test_every_setting_says_what_it_means() -> None:
    found = list(entries(Example))
    assert Entry("mood", "a key of a part at the top of the file", False) in found
    assert Entry("part.share", "how much", True) in found
    assert Entry("part.inner.depth", "how deep", False) in found
    assert {"name", "part.size", "log.level", "sampling.token_share"} < {row.key for row in found}
