"""A PostgreSQL server of a test's own, on loopback; skipped with the reason where none can run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftline_shared.host.loopback import free_port

START_S = 60


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A server: `url` of an empty database of it; `kill` ends it as kill -9 does."""

    url: str
    start: Callable[[], None]
    kill: Callable[[], None]


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of an empty database of a server that runs meanwhile."""
    with postgres_server() as server:
        yield server.url


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server that runs, and may be killed and started again."""
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    places = [None, *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    found = [path for place in places if (path := shutil.which("initdb", path=place))]
    if not found:
        pytest.skip("PostgreSQL is not installed")
    bin_folder = Path(found[-1]).resolve().parent
    # The server refuses to run as root: then it runs as the user of its package.
    user = {}
    if os.getuid() == 0:
        try:
            entry = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user:
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    port = free_port()

    def run(*words: str) -> None:
        done = subprocess.run(
            [bin_folder / words[0], *words[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=(log := (folder / "run.log").open("ab")),
            stderr=subprocess.STDOUT,
            timeout=2 * START_S,
            check=False,
            **user,
        )
        log.close()
        assert done.returncode == 0, (folder / "run.log").read_text()

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-h 127.0.0.1 -p {port} -k '' -F"

        def start() -> None:
            run("pg_ctl", "-D", data, "-w", "-t", str(START_S), "-o", options, "start")

        def kill() -> None:
            pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for one in (pid, *map(int, children)):
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            for one in (pid, *map(int, children)):
                while _state(one) != "Z":
                    time.sleep(0.01)
            # Where nobody has reaped it yet it counts as running.
            (folder / "data" / "postmaster.pid").unlink()

        start()
        try:
            yield Postgres(
                url=f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres",
                start=start,
                kill=kill,
            )
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
