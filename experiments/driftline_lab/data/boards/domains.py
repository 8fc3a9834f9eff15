"""Domains of the world: which sets on which boards, and what each may be used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

SOURCE = "source"


class Role(StrEnum):
    """What a domain is for, fixed before anything was measured on it.

    `development` domains are for choosing settings and scorers, `report` domains for numbers that
    are told. No model was trained on those of `limit`.
    """

    SOURCE = "source"
    DEVELOPMENT = "development"
    REPORT = "report"
    LIMIT = "limit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """Sets and boards of which each picture has one."""

    name: str
    role: Role
    sets: tuple[str, ...]
    boards: tuple[str, ...]


DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        each.name: each
        for each in (
            Domain(
                name=SOURCE,
                role=Role.SOURCE,
                sets=("merida", "green", "kaneo"),
                boards=("blue", "brown", "green", "ice"),
            ),
            Domain(name="ada", role=Role.DEVELOPMENT, sets=("ada",), boards=("maple",)),
            Domain(name="sittuyin", role=Role.DEVELOPMENT, sets=("sittuyin",), boards=("olive",)),
            Domain(name="greenred", role=Role.DEVELOPMENT, sets=("greenred",), boards=("walnut",)),
            Domain(name="atopdown", role=Role.REPORT, sets=("atopdown",), boards=("walnut",)),
            Domain(name="luffy", role=Role.REPORT, sets=("luffy",), boards=("purple",)),
            Domain(name="tomato", role=Role.REPORT, sets=("tomato",), boards=("maple",)),
            Domain(name="unseen", role=Role.LIMIT, sets=("firi", "cambodian"), boards=("plank",)),
        )
    }
)
"""Every domain by name, the source first."""

TAUGHT = tuple(name for name, each in DOMAINS.items() if each.role is not Role.LIMIT)
"""Domains that a teacher may be trained on."""


def domains_of(*roles: Role) -> tuple[str, ...]:
    """Names of the domains of some roles, in order."""
    return tuple(name for name, each in DOMAINS.items() if each.role in roles)


def taught_sets() -> tuple[str, ...]:
    """Names of the sets of `TAUGHT`, in order."""
    return tuple(one for name in TAUGHT for one in DOMAINS[name].sets)
