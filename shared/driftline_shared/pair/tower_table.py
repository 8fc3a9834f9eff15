"""The part of export.json that says what compressors may know of the tower, and read of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from driftline_shared.pair.image_table import Table

READS = ("attention", "keys", "head_attention", "head_keys")
"""Outputs of the graph `reads`, fields of `TowerTokens`; an input `hidden.{n}` is an output of the
tower's graph.
"""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")]
"""Of a file in an export, in one folder of it at most."""

_Count = Annotated[int, Field(ge=1, le=1 << 24)]


class TowerTable(Table):
    """`kind`: the tower's model type. `place`: channels at the end of a token that say where it
    lies. `width`: of the states of a patch. `blocks`: that a token passes, 0 where the tower is no
    transformer; `heads`: of each. `reads`: the graph of that name; None where the tower gives its
    tokens only.
    """

    kind: Annotated[str, Field(min_length=1, max_length=512)]
    place: Annotated[int, Field(ge=0, le=16)] = 0
    width: _Count
    blocks: Annotated[int, Field(ge=0, le=1_024)] = 0
    heads: _Count = 1
    reads: FileName | None = None

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> TowerTable:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not share a width of {self.width}")
        return self
