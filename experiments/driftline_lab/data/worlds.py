"""Worlds: the data sets a demo can stream, each with a source domain and its drifts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from driftline_lab.data import streams
from driftline_lab.data.boards import stream as boards
from driftline_lab.data.boards.domains import DOMAINS as BOARDS_DOMAINS
from driftline_lab.data.corrupted import ALL_DOMAINS
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.emoji import stream as emoji
from driftline_lab.data.openmoji import stream as openmoji
from driftline_lab.data.openmoji.views import STYLES
from driftline_lab.data.streams import Interaction, Segment
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import load_draft
from driftline_shared.program.nearest import nearest


class WriteStream(Protocol):
    """Writes stream.jsonl, test.jsonl, source_test.jsonl and pictures into a folder."""

    def __call__(
        self, folder: Path, segments: Sequence[Segment], *, seed: int, num_test: int
    ) -> None: ...


class Stream(Protocol):
    """The segments' interactions in turn."""

    def __call__(self, segments: Sequence[Segment], *, seed: int) -> Iterator[Interaction]: ...


class HeldOut(Protocol):
    """So many test questions of a domain, in an order drawn by `seed`; no stream shows them."""

    def __call__(
        self, domain: str, /, *, num_questions: int | None, seed: int
    ) -> Iterator[Interaction]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A data set with drifts. `domains`: the source first. `segments`: the default stream.

    `has_captions`: whether "describe the picture." is among its questions.
    """

    name: str
    domains: tuple[str, ...]
    segments: tuple[str, ...]
    write: WriteStream
    stream: Stream
    held_out: HeldOut
    has_captions: bool = False

    def domains_of(self, segments: str | None) -> tuple[str, ...]:
        """The names in a comma-separated list, or the default stream.

        Raises ConfigError for a domain that this world does not have.
        """
        if segments is None:
            return self.segments
        names = tuple(name.strip() for name in segments.split(",") if name.strip())
        unknown = [name for name in names if name not in self.domains]
        if unknown or not names:
            hint = nearest(unknown[0], self.domains) if unknown else ""
            raise ConfigError(
                f"segments: {unknown or segments!r}{hint or ';'} the domains of {self.name} are "
                f"{', '.join(self.domains)}"
            )
        return names

    def drifts_of(self, domains: str) -> tuple[str, ...]:
        """The drifts in a comma-separated list, each once; of an empty one the default stream's.

        Raises ConfigError for a domain that this world does not have, and where no drift is left.
        """
        drifts = tuple(d for d in dict.fromkeys(self.domains_of(domains or None)) if d != SOURCE)
        if not drifts:
            raise ConfigError(
                f"{domains!r} names no drift; those of {self.name} are "
                f"{', '.join(self.domains[1:])}"
            )
        return drifts


EASYVQA = World(
    name="easyvqa",
    domains=tuple(ALL_DOMAINS),
    segments=("source", "night", "sketch"),
    write=streams.write_stream,
    stream=streams.stream,
    held_out=streams.held_out,
)

OPENMOJI = World(
    name="openmoji",
    domains=tuple(style.value for style in STYLES),
    segments=("source", "lineart"),
    write=openmoji.write_openmoji_stream,
    stream=openmoji.stream,
    held_out=openmoji.held_out_of_all,
    has_captions=True,
)

EMOJI = World(
    name="emoji",
    domains=emoji.DESIGNS,
    segments=emoji.DESIGNS,
    write=emoji.write_emoji_stream,
    stream=emoji.stream,
    held_out=emoji.held_out,
    has_captions=True,
)

BOARDS = World(
    name="boards",
    domains=tuple(BOARDS_DOMAINS),
    segments=("source", "atopdown", "tomato"),
    write=boards.write_boards_stream,
    stream=boards.stream,
    held_out=boards.held_out,
)

WORLDS: Mapping[str, World] = MappingProxyType(
    {each.name: each for each in (EASYVQA, OPENMOJI, EMOJI, BOARDS)}
)

WORLD_OF_PAIR: Mapping[str, World] = MappingProxyType(
    {"tiny": EASYVQA, "smol": OPENMOJI, "boards": BOARDS}
)
"""The world a shipped pair was made for; any other pair gets easy-vqa."""


def world_named(name: str | None, *, pair: str) -> World:
    """The world of that name, or the one of the pair of the name `pair`.

    Raises ConfigError for an unknown name.
    """
    if name is None:
        return WORLD_OF_PAIR.get(pair, EASYVQA)
    if name not in WORLDS:
        raise ConfigError(f"world {name!r}; known worlds are {', '.join(WORLDS)}")
    return WORLDS[name]


def world_for(name: str | None, *, pair: str | Path) -> World:
    """The same for a pair that is given as options take it: by shipped name, folder or file.

    Raises ConfigError for an unknown name, PairError where there is no such pair.
    """
    return world_named(name, pair=load_draft(pair).spec.name if name is None else "")
