"""Concepts: the things of the task, chosen by rule from Unicode's names, and their split."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

import numpy as np

from driftline_lab.data.openmoji.groups import GROUPS, STRANGE_WORDS

MAX_WORDS = 2
SEEN_SHARE = 0.6
_SPLIT_SEED = 20_260_424
_ROW = re.compile(r"(?P<code>[0-9A-F]{4,6})(?: FE0F)?; fully-qualified # \S+ E[\d.]+ (?P<name>.+)")
_PLAIN_NAME = re.compile(r"[a-z]+(?:[ -][a-z]+)*")


class Role(StrEnum):
    """Where a concept's drifted views may occur: in streams and tests, or in tests alone."""

    SEEN = "seen"
    UNSEEN = "unseen"


@dataclass(frozen=True, kw_only=True, slots=True)
class Concept:
    """A thing. `code`: its code point, as OpenMoji names its file. `name`: lower case, short.

    `group`: one of our group words. `subgroup`: Unicode's. `tags`: other names it honestly has
    (Unicode's own character name, where that differs).
    """

    code: str
    name: str
    group: str
    subgroup: str
    tags: tuple[str, ...] = ()


@cache
def concepts(role: Role | None = None) -> tuple[Concept, ...]:
    """Every concept, or those of a role, in Unicode's order: the same on every machine."""
    if role is None:
        return _chosen(_rows())
    return tuple(concept for concept in concepts() if role_of(concept) is role)


def role_of(concept: Concept) -> Role:
    """Drawn once by a fixed seed, in every group alike."""
    return Role.SEEN if concept.code in _seen_codes() else Role.UNSEEN


@cache
def _seen_codes() -> frozenset[str]:
    by_group: dict[str, list[str]] = {}
    for concept in concepts():
        by_group.setdefault(concept.group, []).append(concept.code)
    rng = np.random.default_rng(_SPLIT_SEED)
    seen: set[str] = set()
    for group in sorted(by_group):
        codes = sorted(by_group[group])
        order = rng.permutation(len(codes))
        seen.update(codes[i] for i in order[: round(SEEN_SHARE * len(codes))])
    return frozenset(seen)


def _rows() -> list[tuple[str, str, str]]:
    """(code, subgroup, name) of the rows of emoji-test.txt whose subgroup is a group of ours."""
    text = (files(__package__) / "emoji-test.txt").read_text(encoding="utf-8")
    rows: list[tuple[str, str, str]] = []
    subgroup = ""
    for line in text.splitlines():
        if line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif (row := _ROW.fullmatch(line)) and subgroup in GROUPS:
            rows.append((row["code"], subgroup, row["name"]))
    return rows


def _chosen(rows: list[tuple[str, str, str]]) -> tuple[Concept, ...]:
    """Short plain names that are no variant of a shorter one ("cat face", "oncoming bus")."""
    plain = [
        row
        for row in rows
        if _PLAIN_NAME.fullmatch(row[2])
        and len(row[2].split()) <= MAX_WORDS
        and not STRANGE_WORDS & set(re.findall(r"[a-z]+", row[2]))
    ]
    words = {name for _, _, name in plain if " " not in name}
    return tuple(
        Concept(
            code=code,
            name=name,
            group=GROUPS[subgroup],
            subgroup=subgroup,
            tags=_other_names(code, name),
        )
        for code, subgroup, name in plain
        if " " not in name or not words & set(name.split())
    )


def _other_names(code: str, name: str) -> tuple[str, ...]:
    other = unicodedata.name(chr(int(code, 16)), "").lower()
    words = set(other.split())
    short = bool(_PLAIN_NAME.fullmatch(other)) and len(words) <= MAX_WORDS
    # "bear face" says no more than "bear".
    return (other,) if short and not words & (STRANGE_WORDS | set(name.split())) else ()
