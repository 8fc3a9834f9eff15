"""Checks of the machine: state folder, disk, port, pair, Ray. Nothing is written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.blobs.remote import open_remote
from driftline_cloud.config import CloudConfig
from driftline_cloud.release.copies import missing_there
from driftline_cloud.state import read_port
from driftline_cloud.workers.cluster.secret import read_token, token_place
from driftline_cloud.workers.reach import why_away
from driftline_shared.errors import ConfigError, DriftlineError, LinkError
from driftline_shared.host.lock import lock_holder
from driftline_shared.pair.pair import load_draft, load_pair
from driftline_shared.pair.signed import check_signed
from driftline_shared.program.address import own_host
from driftline_shared.program.checks import Check, fail, ok, warn

LEAST_BYTES, WANTED_BYTES = 256 << 20, 2 << 30
"""Room for a round and its release; room that an operator sleeps well with."""

LEAST_INODES = 1_000
ASK_S = 5.0
_MIB = 1 << 20


def check_state(config: CloudConfig) -> Check:
    """Whether the folder is there, can be written, and who holds it."""
    state = config.state
    if not state.is_dir():
        return fail("state folder", f"{state} is not there", "Name the folder of the cloud.")
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        found = f"this user cannot write to {state}"
        return fail("state folder", found, "Run doctor, and the cloud, as the folder's owner.")
    holder = lock_holder(state)
    held = "no cloud runs on it" if holder is None else f"served by process {holder or 'unknown'}"
    return ok("state folder", f"{state}; {held}")


def check_disk(folder: Path) -> Check:
    """Room where the state lies."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    disk = os.statvfs(folder)
    free = disk.f_frsize * disk.f_bavail
    found = f"{free // _MIB} MiB free, {disk.f_favail} files, at {folder}"
    fix = "Free space, or lower retention.* and rounds.keep_used_samples."
    if disk.f_flag & os.ST_RDONLY:
        return fail("disk", f"{folder} is read-only", "Remount it: the log says why it was.")
    # Some file systems count no inodes: f_files is 0 there.
    if free < LEAST_BYTES or (disk.f_files and disk.f_favail < LEAST_INODES):
        return fail("disk", found, fix)
    return ok("disk", found) if free >= WANTED_BYTES else warn("disk", found, fix)


def check_pair(name: str, pair_key: str = "") -> Check:
    """Whether the pair reads. Nothing is fetched or put together for that."""
    try:
        signed = check_signed(name, pair_key)
        by = "" if signed is None else f", signed by {signed.key[:16]}"
        spec = load_draft(name).spec
        sides = (spec.teacher, spec.student)
        if any(side.id is not None or side.trained is not None for side in sides):
            return ok("pair", f"{name}: weights are fetched or assembled at first use{by}")
        pair = load_pair(name)
    except DriftlineError as error:
        return fail("pair", str(error), error.fix)
    return ok("pair", f"{pair.name} in {pair.dir}{by}")


def check_port(config: CloudConfig) -> Check:
    """Whether the cloud answers at its port, or the port is free where none runs."""
    host, _, port = config.listen.rpartition(":")
    host = own_host(host).strip("[]")
    if lock_holder(config.state) is None:
        if port == "0" or _is_free(host, int(port)):
            return ok("port", f"{config.listen} is free")
        found = f"{config.listen} is taken by another program"
        return fail("port", found, "Stop that program, or set `listen`.")
    from driftline_cloud.trust.operator import operator_credentials
    from driftline_shared.rpc.status import fetch_status

    address = f"{host}:{read_port(config.state) or port}"
    try:
        shown = operator_credentials(config.state, insecure=config.trust.insecure)
        found_version = fetch_status(address, timeout_s=ASK_S, credentials=shown).version
    except (ConfigError, LinkError) as error:
        return fail("port", str(error), error.fix)
    return ok("port", f"{address} serves, driftline {found_version}")


def check_store(config: CloudConfig) -> Check:
    """Whether the artifact store answers, and has every version that the folder has."""
    url = config.storage.artifacts
    if not url:
        return ok("artifacts", "in the state folder")
    try:
        # Whoever's it is: the cloud itself claims it, and says so where it is another's.
        missing = missing_there(
            FolderStore(config.state / "releases"), open_remote(url).within("releases")
        )
    except DriftlineError as error:
        return fail("artifacts", str(error), error.fix)
    if missing:
        found = f"{url} lacks {len(missing)} blobs of versions, {missing[0]} first"
        return warn("artifacts", found, "The next start of `driftline cloud work` sends them.")
    return ok("artifacts", f"{url} answers and has every version")


def check_ray(config: CloudConfig) -> Check:
    """Whether the head answers, and whether the token is there."""
    workers = config.workers
    if workers.kind != "ray" or not workers.ray_address:
        where = "in the working process" if workers.kind == "local" else "by Ray on this machine"
        return ok("workers", f"{where}; no cluster is asked for")
    if reason := why_away(workers.ray_address):
        fix = "Start it with `driftline cloud cluster up`; rounds wait for it."
        return fail("workers", reason, fix)
    try:
        read_token(token_place(workers.ray_token_file), os.environ)
    except DriftlineError as error:
        return fail("workers", str(error), error.fix)
    return ok("workers", f"the Ray head at {workers.ray_address} answers; its token is here")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
