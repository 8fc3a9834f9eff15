"""A PostgreSQL server of a test's own, on loopback; skipped with the reason where none can run."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_S = 60


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of an empty database of a server that runs meanwhile."""
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

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
        run("pg_ctl", "-D", data, "-w", "-t", str(START_S), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
