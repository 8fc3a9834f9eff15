"""The way from the journal to a part, safe to be cut at any line and done again.

    1. the part, from the journal's events that no part holds (by their sequence numbers)
    2. the manifest that names it: from here on the events count as in the part
    3. the journal goes

Cut before 2, the part is no part (the manifest does not name it) and is written anew; cut before
3, all events of the journal are known already. So no event is lost, and none is there twice.
"""

from __future__ import annotations

from pathlib import Path

from driftline_shared.host.durable import remove_drafts
from driftline_shared.trace.journal import (
    held_nothing,
    is_readable,
    journal_of,
    read_journal,
    remove_journal,
    set_aside,
)
from driftline_shared.trace.manifest import Manifest, write_manifest
from driftline_shared.trace.parts import write_part


def roll_over(folder: Path, manifest: Manifest) -> Manifest:
    """Make the journal of the trace in `folder`, if there is one, its next part.

    The caller holds the folder's lock and has closed the journal. Gives the manifest in force. One
    of which nothing can be read is set aside.
    """
    journal = journal_of(folder)
    if journal is None:
        return manifest
    if not is_readable(journal) and not held_nothing(journal):
        set_aside(folder)
        return manifest
    part = write_part(
        folder, manifest.next_part, read_journal(journal, after=manifest.last_sequence)
    )
    if part is not None:
        manifest = manifest.with_part(part)
        write_manifest(folder, manifest)
    remove_journal(folder)
    return manifest


def tidy(folder: Path) -> None:
    """Remove drafts that a kill left."""
    remove_drafts(folder)
