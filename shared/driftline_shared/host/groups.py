"""Control groups that this process is in (Linux): their folders, by the hierarchy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def group_folders(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups this process is in, inner ones first, up to the top of the hierarchy.

    `controller`: "" is version 2, which has one hierarchy; version 1 has one a controller ("cpu",
    "memory"). Nothing where the system does not say.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in lines.split("\n"):
        controllers, separator, path = line.partition(":")[2].partition(":")
        named = controllers.split(",")
        if not separator or controller not in named:
            continue
        # A mount is called by all of its controllers (cpu,cpuacct), or by one.
        tops = (root / "sys/fs/cgroup" / name for name in dict.fromkeys((controller, controllers)))
        for top in tops:
            # In a container the path may be the host's, and name nothing that is seen here.
            folder = top / path.strip().lstrip("/")
            for group in (folder, *folder.parents):
                yield group
                if group == top:
                    break
