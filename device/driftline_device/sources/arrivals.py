"""Which files of a folder are new and complete, as they come in.

The operating system says where something changed; a look through the whole folder now and then
finds what it did not say (network drives, overflown queues). A file is complete when it did not
change for a while. A file is known by its place on disk, size and time of change, so a renamed one
is not new and an overwritten one is. Everything kept is bounded.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections import OrderedDict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from driftline_device.sources.left_out import LeftOut
from driftline_shared.host.clock import Clock
from driftline_shared.program.section import Section, setting

if TYPE_CHECKING:
    from watchfiles.main import FileChange

MAX_WAITING = 10_000
"""Files that may wait at a time; more are found again when these are done."""

MAX_REMEMBERED = 100_000
"""Files known to have been given; older ones are known by their time alone."""

HIDDEN = (".", "~")
"""What names of hidden files and folders begin with."""

MAX_GIVEN = 64
"""Files given at a time."""

TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", "~")
"""What names of unfinished files end in, before or after the suffix of the image."""

_LOOK_S = 0.1  # longest wait for a change before what is complete is given
_SCAN_COST = 50.0  # a look through the folder may take one second in so many
_SCAN_AGAIN = 5.0  # the same where there is reason to look

_log = structlog.get_logger(__name__)

Identity = tuple[int, int, int]
"""inode, size in bytes, time of change in ns."""


class FolderSettings(Section):
    """When files of a watched folder are read. Times in seconds."""

    complete_after_s: float = setting(
        1.0, "a file of a watched folder is read once it did not change for so long", ge=0
    )
    rescan_s: float = setting(
        10.0, "how often a watched folder is looked through for what the system did not tell", ge=0
    )
    existing: bool = setting(
        True, "also answer the files that lie in a watched folder at the start"
    )


@dataclass(kw_only=True, slots=True)
class _Waiting:
    """A file that may not be complete: unchanged as `identity` until `due_s` makes it so."""

    identity: Identity
    due_s: float


class Arrivals:
    """New complete files below `folder` whose names end in one of `suffixes`; close it at the end.

    Hidden files and folders and unfinished names are passed over; links, pipes and files of other
    names are added to `left_out`.
    """

    def __init__(
        self,
        folder: Path,
        suffixes: frozenset[str],
        settings: FolderSettings,
        *,
        clock: Clock,
        wait_s: float,
        left_out: LeftOut | None = None,
    ) -> None:
        self._folder = folder.resolve()
        self._suffixes = suffixes
        self._settings = settings
        self._clock = clock
        self._wait_s = wait_s
        self._left_out = left_out or LeftOut(folder)
        self._waiting: dict[Path, _Waiting] = {}
        self._given: OrderedDict[Identity, int] = OrderedDict()
        self._given_until_ns = -1  # arrivals up to here are given, whether remembered or not
        self._more = False
        self._root: tuple[int, int] | None = None
        self._scan_s = self._again_s = 0.0
        self._changes: Generator[set[FileChange], None, None] | None = None
        self._told_of_watch = False
        self._look_at_folder()
        if not settings.existing:
            for _, found in self._walk():
                self._remember(_identity(found), found.st_ctime_ns)
                self._given_until_ns = max(self._given_until_ns, found.st_ctime_ns)

    def take(self) -> list[Path]:
        """Complete files, first come first; after `wait_s` at most, then perhaps none."""
        until_s = self._clock.monotonic_s() + self._wait_s
        while True:
            self._look_at_folder()
            for name in self._changed():
                self._consider(Path(name))
            now_s = self._clock.monotonic_s()
            if now_s >= self._scan_s or (self._more and not self._waiting):
                self._scan(now_s)
            complete = self._complete()
            if complete or self._clock.monotonic_s() >= until_s:
                return complete

    def close(self) -> None:
        """Stop watching."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None

    # -- the folder -------------------------------------------------------------------------------

    def _look_at_folder(self) -> None:
        """Watch anew if the folder was replaced or came back."""
        try:
            found = self._folder.stat()
            root = (found.st_dev, found.st_ino)
        except OSError as error:
            if self._root is not None:
                self._root = None
                self.close()
                _log.warning(
                    "folder.missing",
                    folder=str(self._folder),
                    error=error.strerror,
                    fix="It is watched again once it is back.",
                )
            return
        if root != self._root:
            self._root = root
            self._scan_s = 0.0
            self.close()
            self._changes = self._watch()

    def _watch(self) -> Generator[set[FileChange], None, None] | None:
        from watchfiles import watch

        changes = watch(
            self._folder,
            watch_filter=None,
            debounce=100,
            step=50,
            rust_timeout=int(1000 * _LOOK_S),
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        try:
            next(changes)  # it begins to watch now: the look through the folder comes after
        except (OSError, RuntimeError) as error:
            self._tell_of_watch(error)
            return None
        return changes

    def _tell_of_watch(self, error: Exception) -> None:
        if not self._told_of_watch:
            self._told_of_watch = True
            _log.warning(
                "folder.not_watched",
                folder=str(self._folder),
                error=str(error),
                fix="Raise fs.inotify.max_user_watches; till then it is looked through.",
            )

    def _changed(self) -> Iterator[str]:
        """Paths of what changed, waiting for the first; wherever the system lets us watch."""
        if self._changes is None:
            self._clock.sleep(_LOOK_S)
            return
        try:
            changes = next(self._changes)
        except (OSError, RuntimeError, StopIteration) as error:
            self._tell_of_watch(error)
            self.close()
            return
        for _, name in changes:
            yield name

    # -- files ------------------------------------------------------------------------------------

    def _consider(self, path: Path) -> None:
        """Let `path` wait until it is complete, if it is new."""
        try:
            found = path.stat(follow_symlinks=False)
        except OSError:
            return
        if stat.S_ISDIR(found.st_mode):
            # A folder that was moved in: its files are not announced one by one.
            self._scan_s = min(self._scan_s, self._again_s)
        elif (
            path not in self._waiting
            and not any(part.startswith(HIDDEN) for part in path.relative_to(self._folder).parts)
            and self._is_new(found)
            and self._is_image(path.name, found)
        ):
            if len(self._waiting) >= MAX_WAITING:
                self._more = True
                return
            self._wait_for(path, found)

    def _wait_for(self, path: Path, found: os.stat_result) -> None:
        after_s = self._settings.complete_after_s
        # One that was written a while ago and moved here is complete already.
        age_s = self._clock.now_s() - found.st_mtime_ns / 1e9
        left_s = after_s if age_s < 0 else max(0.0, after_s - age_s)
        self._waiting[path] = _Waiting(
            identity=_identity(found), due_s=self._clock.monotonic_s() + left_s
        )

    def _complete(self) -> list[Path]:
        now_s = self._clock.monotonic_s()
        complete: list[Path] = []
        done: list[Path] = []
        for path, waiting in self._waiting.items():
            if len(complete) == MAX_GIVEN:
                break
            if now_s < waiting.due_s:
                continue
            try:
                found = path.stat(follow_symlinks=False)
            except OSError:
                done.append(path)
                continue
            identity = _identity(found)
            if identity != waiting.identity:
                waiting.identity = identity
                waiting.due_s = now_s + self._settings.complete_after_s
                continue
            done.append(path)
            # Two names of one file, or a rename while it waited, are one arrival.
            if found.st_size and identity not in self._given:
                self._remember(identity, found.st_ctime_ns)
                complete.append(path)
        for path in done:
            del self._waiting[path]
        return complete

    def _scan(self, began_s: float) -> None:
        """Look through the whole folder for files that are new, in the order of their arrival."""
        if self._changes is None and self._root is not None:
            self._changes = self._watch()
        free = MAX_WAITING - len(self._waiting)
        arrivals = (
            (found.st_ctime_ns, path, found)
            for path, found in self._walk()
            if Path(path) not in self._waiting
        )
        first = heapq.nsmallest(free + 1, arrivals, key=lambda each: each[:2])
        self._more = len(first) > free
        for _, path, found in first[:free]:
            self._wait_for(Path(path), found)
        took_s = self._clock.monotonic_s() - began_s
        self._scan_s = began_s + max(self._settings.rescan_s, _SCAN_COST * took_s)
        self._again_s = began_s + _SCAN_AGAIN * took_s

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Paths of new files, in no order. It runs over files known for long: cheap for those."""
        folders = [str(self._folder)]
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.name.startswith(HIDDEN):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif not self._left_out.knows(entry.path):
                            found = entry.stat(follow_symlinks=False)
                            if not self._is_new(found):
                                continue
                            if self._is_image(entry.name, found):
                                yield entry.path, found
                            elif not is_temporary(entry.name):
                                is_file = stat.S_ISREG(found.st_mode)
                                self._left_out.add(entry.path, is_file=is_file)
            except OSError:  # what goes away meanwhile is no matter
                continue

    def _is_image(self, name: str, found: os.stat_result) -> bool:
        suffix = "." + name.rpartition(".")[2].lower()
        named = suffix in self._suffixes and not is_temporary(name)
        return named and stat.S_ISREG(found.st_mode)

    def _is_new(self, found: os.stat_result) -> bool:
        known = found.st_ctime_ns <= self._given_until_ns or _identity(found) in self._given
        return not known

    def _remember(self, identity: Identity, arrived_ns: int) -> None:
        self._given[identity] = arrived_ns
        if len(self._given) > MAX_REMEMBERED:
            _, forgotten_ns = self._given.popitem(last=False)
            self._given_until_ns = max(self._given_until_ns, forgotten_ns)


def is_temporary(name: str) -> bool:
    """Whether a file of that name is hidden or not finished."""
    stem = name.rpartition(".")[0]
    return (
        name.startswith(HIDDEN)
        or name.lower().endswith(TEMPORARY)
        or (stem.lower().endswith(TEMPORARY))
    )


def _identity(found: os.stat_result) -> Identity:
    return found.st_ino, found.st_size, found.st_mtime_ns
