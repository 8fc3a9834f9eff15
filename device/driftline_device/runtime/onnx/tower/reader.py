"""Pictures as the tower's graph reads them: tokens, and beside them what a compressor asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.graphs import Graphs
from driftline_device.runtime.seen import BoundedCache, image_digest
from driftline_shared.errors import PairError
from driftline_shared.pair.export_file import Export
from driftline_shared.pair.image_steps import pixels_of

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerOutput:
    """Of one picture: `values` (V, D_v), and `read`, fields of `TowerTokens` by name."""

    values: Floats
    read: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Of the arrays."""
        return self.values.nbytes + sum(array.nbytes for array in self.read.values())

    def copy(self) -> TowerOutput:
        """In arrays of its own: those of a batch are parts of a larger one."""
        read = {name: array.copy() for name, array in self.read.items()}
        return TowerOutput(values=self.values.copy(), read=read)


class TowerReader:
    """The tower of an export; safe from any thread. `seen`: what it said of pictures, kept.

    `needs`: what is read beside tokens, outputs of the graph `reads`. Raises PairError where the
    graphs do not give it.
    """

    def __init__(
        self,
        export: Export,
        graphs: Graphs,
        seen: BoundedCache[TowerOutput],
        *,
        most: int,
        needs: Collection[str] = (),
    ) -> None:
        self.seen = seen
        self.batch = graphs.tower_batch(export, most)
        self._export, self._graphs, self._needs = export, graphs, sorted(needs)
        self._hidden = sorted(graphs.inputs("reads")) if needs else []
        if needs:
            missing = {*needs} - {*graphs.outputs("reads")}
            missing |= {*self._hidden} - {*graphs.outputs("tower")}
            if missing:
                raise PairError(
                    f"the tower's graphs do not give {', '.join(sorted(missing))}; export the pair "
                    "again"
                )

    def outputs(
        self, images: Sequence[NDArray[np.uint8]]
    ) -> Iterator[tuple[TowerOutput, bytes, bool]]:
        """What the tower says of each picture, the picture's digest, and whether it was seen
        before; one that comes twice is read once.
        """
        digests = [image_digest(image) for image in images]
        found = {digest: self.seen.get(digest) for digest in digests}
        missing = {
            digest: image
            for digest, image in zip(digests, images, strict=True)
            if found[digest] is None
        }
        new = list(missing)
        for start in range(0, len(new), self.batch):
            block = new[start : start + self.batch]
            pixels = [pixels_of(missing[digest], self._export.image) for digest in block]
            for digest, output in zip(block, self._read(np.stack(pixels)), strict=True):
                found[digest] = output
                self.seen.put(digest, output.copy(), output.num_bytes)
        for digest in digests:
            known = found[digest]
            assert known is not None, "read above"
            yield known, digest, digest not in missing

    def _read(self, pixels: Floats) -> list[TowerOutput]:
        given = {"pixels": pixels}
        read: dict[str, Floats] = {}
        if self._needs:
            hidden = self._graphs.several("tower", given, ["tokens", *self._hidden])
            tokens = hidden.pop("tokens")
            read = self._graphs.several("reads", hidden, self._needs)
        else:
            tokens = self._graphs.run("tower", given, None)
        for array in (tokens, *read.values()):
            array.setflags(write=False)
        return [
            TowerOutput(values=values, read={name: array[row] for name, array in read.items()})
            for row, values in enumerate(tokens)
        ]
