"""The disk that fails on order: what a program sees of it, and what is left after a power cut."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from driftline_lab.chaos.disk.control import Control, Death, Mode
from driftline_lab.chaos.disk.shim import build_shim, shim_environment

DURABLE = """
import os, sys
root = sys.argv[1]
def put(name, data, durable):
    draft = f"{root}/.{name}.new"
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(file, data)
    if durable:
        os.fsync(file)
    os.close(file)
    os.rename(draft, f"{root}/{name}")
    if durable:
        folder = os.open(root, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
"""
SQL = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1] + "/it.sqlite", isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute("CREATE TABLE IF NOT EXISTS t (n)")
for number in range(100):
    database.execute("INSERT INTO t VALUES (?)", (number,))
    print(number, flush=True)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = build_shim(tmp_path_factory.mktemp("shim"))
    if library is None:
        pytest.skip("no C compiler")
    return library


class Disk:
    """A folder below which writes fail on order."""

    def __init__(self, shim: Path, folder: Path) -> None:
        self.root = folder / "state"
        self.root.mkdir()
        self.control = Control(folder / "control")
        extra = shim_environment(shim, control=self.control.path, root=self.root)
        self._environment = {**os.environ, **extra}

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", "-c", code, str(self.root)],
            env=self._environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


@pytest.fixture
def disk(shim: Path, tmp_path: Path) -> Disk:
    return Disk(shim, tmp_path)


@pytest.mark.parametrize(("mode", "name"), [(Mode.FULL, "ENOSPC"), (Mode.READ_ONLY, "EROFS")])
def test_writes_are_refused_and_what_is_there_stays(disk: Disk, mode: Mode, name: str) -> None:
    assert disk.run(f"{DURABLE}\nput('a', b'old', True)").returncode == 0
    disk.control.set_mode(mode)
    code = (
        f"{DURABLE}\nimport errno\ntry: put('a', b'new', True)\n"
        "except OSError as error: print(errno.errorcode[error.errno])"
    )
    assert disk.run(code).stdout.split() == [name]
    assert disk.read("a") == b"old"
    assert "Error" in disk.run(SQL).stderr
    disk.control.calm()
    assert disk.run(SQL).stdout.split()[-1] == "99"


@pytest.mark.parametrize(
    ("how", "left"), [(Death.BEFORE, b""), (Death.TORN, b"12345"), (Death.AFTER, b"1234567890")]
)
def test_a_program_dies_at_a_write(disk: Disk, how: Death, left: bytes) -> None:
    disk.control.kill_at(1, how, seed=0)
    code = "import sys\nopen(sys.argv[1] + '/a', 'wb', buffering=0).write(b'1234567890')"
    assert disk.run(code).returncode == -signal.SIGKILL
    assert disk.read("a") == left
    assert (disk.control.num_fired, disk.control.waits) == (1, False)


@pytest.mark.parametrize(
    ("how", "found"),
    [
        (Death.POWER_CUT, {"kept": b"new", "lost": b"old"}),
        (Death.POWER_CUT_OF_DATA, {"kept": b"new", "lost": b""}),
    ],
)
def test_a_power_cut_takes_back_what_was_not_synced(
    disk: Disk, how: Death, found: dict[str, bytes]
) -> None:
    disk.run(f"{DURABLE}\nfor name in ('kept', 'lost'): put(name, b'old', True)")
    disk.run(f"{DURABLE}\nput('kept', b'new', True)")
    # Of the three writes of another program, a draft, a rename and a folder, none is synced.
    disk.control.kill_at(3, how, seed=0)
    done = disk.run(f"{DURABLE}\nput('lost', b'new', False)\nos.mkdir(root + '/cut')")
    assert done.returncode == -signal.SIGKILL
    assert {name: disk.read(name) for name in found} == found
    assert disk.control.num_undone > 0


@pytest.mark.parametrize("how", list(Death))
@pytest.mark.parametrize("write", [5, 17, 40, 41, 42])
def test_what_sqlite_committed_is_there_after_any_death(disk: Disk, how: Death, write: int) -> None:
    disk.control.kill_at(write, how, seed=write)
    done = disk.run(SQL)
    assert done.returncode == -signal.SIGKILL
    told = [int(line) for line in done.stdout.split()]
    with closing(sqlite3.connect(disk.root / "it.sqlite")) as database:
        try:
            rows = [row[0] for row in database.execute("SELECT n FROM t")]
        except sqlite3.OperationalError:  # it died before there was a table
            rows = []
    assert rows[: len(told)] == told
    assert len(rows) <= len(told) + 1


def test_files_elsewhere_are_left_alone(disk: Disk, tmp_path: Path) -> None:
    disk.control.set_mode(Mode.FULL)
    place = tmp_path / "elsewhere"
    assert disk.run(f"open({str(place)!r}, 'w').write('well')").returncode == 0
    assert place.read_text() == "well"
