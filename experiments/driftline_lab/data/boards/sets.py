"""The piece sets and boards that are drawn, with their artists and licences.

Of the complete sets in `pychess-data` 0.1.0 these have a licence under which pictures may be passed
on and used for anything. Left out: alpha and dubrovny, maestro, santa (not for commercial use),
alfaerie (no licence known) with its near twin mansindam/intl, sittuyin/Ka_blackred (half of it is
Ka_greenred), mono (one drawing for both colours) and sets that draw letters in fonts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TYPES = ("king", "queen", "rook", "bishop", "knight", "pawn")
COLOURS = ("white", "black")
EMPTY = 0
PIECES: tuple[str, ...] = ("nothing", *(f"{c} {t}" for c in COLOURS for t in TYPES))
"""What a square can hold, by its code: 0 is nothing, then white's types, then black's."""

_LETTERS = {"king": "K", "queen": "Q", "rook": "R", "bishop": "B", "knight": "N", "pawn": "P"}


def piece_code(colour: str, kind: str) -> int:
    """The code of a piece, 1..12."""
    return 1 + COLOURS.index(colour) * len(TYPES) + TYPES.index(kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceSet:
    """Twelve drawings by one artist. `folder`: below the package's pieces."""

    name: str
    folder: str
    artist: str
    licence: str
    lower_case: bool = False

    def files(self) -> tuple[str, ...]:
        """Paths below the package's pieces, in the order of `PIECES` without nothing."""
        letters = [_LETTERS[kind].lower() if self.lower_case else _LETTERS[kind] for kind in TYPES]
        return tuple(
            f"{self.folder}/{colour[0]}{letter}.svg" for colour in COLOURS for letter in letters
        )


SETS: Mapping[str, PieceSet] = MappingProxyType(
    {
        each.name: each
        for each in (
            PieceSet(
                name="merida",
                folder="merida",
                artist="Armando Hernandez Marroquin",
                licence="GPL-2.0-or-later",
            ),
            PieceSet(
                name="green",
                folder="green",
                artist="Uray M. János, after Colin M. L. Burnett",
                licence="CC BY-SA 3.0",
            ),
            PieceSet(name="kaneo", folder="kaneo", artist="Kadagaden", licence="CC BY 4.0"),
            PieceSet(name="ada", folder="makruk/ada", artist="Fulmene", licence="CC BY-SA 4.0"),
            PieceSet(
                name="sittuyin",
                folder="sittuyin/original",
                artist="Kadagaden",
                licence="CC BY 4.0",
            ),
            PieceSet(
                name="atopdown",
                folder="atopdown",
                artist="pychess-variants contributors",
                licence="AGPL-3.0-or-later",
                lower_case=True,
            ),
            PieceSet(name="luffy", folder="luffy", artist="LuffyKudo", licence="CC BY-SA 4.0"),
            PieceSet(
                name="tomato",
                folder="mansindam/tomato",
                artist="pychess-variants contributors",
                licence="AGPL-3.0-or-later",
                lower_case=True,
            ),
            PieceSet(
                name="greenred",
                folder="sittuyin/Ka_greenred",
                artist="Kadagaden",
                licence="CC BY 4.0",
            ),
            PieceSet(
                name="firi",
                folder="firi",
                artist="James Faure",
                licence="CC BY 4.0",
                lower_case=True,
            ),
            PieceSet(
                name="cambodian",
                folder="makruk/cambodian",
                artist="Fulmene",
                licence="CC BY-SA 4.0",
            ),
        )
    }
)
"""The sets by name."""

Tone = tuple[int, int, int]

PLAIN_BOARDS: Mapping[str, tuple[Tone, Tone]] = MappingProxyType(
    {
        "blue": ((222, 227, 230), (140, 162, 173)),
        "brown": ((240, 217, 181), (181, 136, 99)),
        "green": ((255, 255, 221), (134, 166, 102)),
        "ice": ((236, 236, 236), (193, 193, 142)),
        "purple": ((159, 144, 176), (125, 74, 141)),
    }
)
"""Boards drawn here, name -> RGB of light and dark squares."""

WOODEN_BOARDS: Mapping[str, str] = MappingProxyType(
    {
        "maple": "8x8maple.jpg",
        "olive": "8x8olive.jpg",
        "walnut": "8x8wood2.jpg",
        "plank": "8x8wood4.jpg",
    }
)
"""Boards of the package, name -> file; pychess-variants contributors, AGPL-3.0-or-later."""
