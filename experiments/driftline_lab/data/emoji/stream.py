"""The world `emoji`: OpenMoji in colour is the source, three other designers are the drifts, and
then two drawings without colour, OpenMoji's lines and Fluent's high contrast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from driftline_lab.data.emoji.icons import IconSet, open_icons
from driftline_lab.data.emoji.packages import PACKAGES, packages_folder
from driftline_lab.data.openmoji import stream as drawings
from driftline_lab.data.openmoji.concepts import Concept, concepts
from driftline_lab.data.openmoji.drawings import DRAWING_SIZE, rasterized
from driftline_lab.data.openmoji.stream import Drawn, Event
from driftline_lab.data.openmoji.views import Style, on_plain_ground, render
from driftline_lab.data.streams import Segment
from driftline_lab.drift.base import Picture
from driftline_shared.errors import ConfigError

DESIGNS = (Style.SOURCE.value, "twemoji", "noto", "fluent", Style.LINEART.value, "contrast")
"""The domains, and the default stream, in turn."""


def emoji(folder: Path | None = None) -> Drawn:
    """The concepts that every designer has drawn, and a renderer of them.

    `folder`: where the packages are; by default where `driftline lab fetch emoji` puts them.
    Raises ConfigError when one is not there.
    """
    sets = {design: _opened(design, folder or packages_folder()) for design in PACKAGES}

    def render_design(concept: Concept, design: str, *, view: int) -> Picture:
        icons = sets.get(design)
        if icons is None:
            return render(concept, design, view=view)
        name = f"{concept.code}-{icons.file.stem}-{DRAWING_SIZE}.png"
        art = rasterized(icons.file.parent / "drawings" / name, lambda: icons.svg(concept.code))
        return on_plain_ground(art, concept, view=view)

    members = tuple(c for c in concepts() if all(c.code in icons.names for icons in sets.values()))
    return Drawn(members=members, render=render_design)


def stream(segments: Sequence[Segment], *, seed: int = 0) -> Iterator[Event]:
    """The segments' designs in turn, over the seen concepts. Raises ConfigError as `emoji` does."""
    return drawings.stream(segments, seed=seed, drawn=emoji())


def held_out(design: str, *, num_questions: int | None = None, seed: int = 0) -> Iterator[Event]:
    """Test questions of a design, over seen and unseen concepts. Raises ConfigError."""
    return drawings.held_out_of_all(design, num_questions=num_questions, seed=seed, drawn=emoji())


def write_emoji_stream(
    folder: Path, segments: Sequence[Segment], *, seed: int, num_test: int
) -> None:
    """Writes a stream of designs, as `drawings.write_drawn_stream` says."""
    drawings.write_drawn_stream(folder, segments, emoji(), seed=seed, num_test=num_test)


def _opened(design: str, folder: Path) -> IconSet:
    file = folder / PACKAGES[design].file
    if not file.is_file():
        raise ConfigError(
            f"the drawings of {design} are not there ({file}): run `driftline lab fetch emoji` "
            "once, which needs npm and a network"
        )
    return open_icons(file)
