"""Which tables there are: one explicit table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from driftline_lab.experiments.tables.ablation import ABLATION
from driftline_lab.experiments.tables.accuracy import ACCURACY
from driftline_lab.experiments.tables.captions import CAPTIONS
from driftline_lab.experiments.tables.forgetting import FORGETTING
from driftline_lab.experiments.tables.gate_scores import GATE_SCORES
from driftline_lab.experiments.tables.links import LINKS
from driftline_lab.experiments.tables.pareto import PARETO
from driftline_lab.experiments.tables.round_cost import ROUND_COST
from driftline_lab.experiments.tables.table import Table
from driftline_lab.experiments.tables.token_share import TOKEN_SHARE
from driftline_shared.errors import ConfigError

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        each.name: each
        for each in (
            ACCURACY,
            CAPTIONS,
            ABLATION,
            TOKEN_SHARE,
            LINKS,
            GATE_SCORES,
            PARETO,
            FORGETTING,
            ROUND_COST,
        )
    }
)
"""The paper's five first, then ours."""


def table_named(name: str) -> Table:
    """The table of that name. Raises ConfigError for an unknown one."""
    if name not in TABLES:
        raise ConfigError(f"table {name!r} is not known; there are {', '.join(TABLES)}")
    return TABLES[name]
