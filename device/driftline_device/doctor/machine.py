"""Checks of the machine: runtime, camera, memory, disk, clock. Nothing is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from driftline_device.config import DeviceConfig
from driftline_device.sampling.gate import Gate
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.host.memory import available_bytes
from driftline_shared.models.compression.portable import checked_portable
from driftline_shared.p_ik.head import P_IK
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.weights import weight_files
from driftline_shared.program.checks import Check, fail, ok, warn
from driftline_shared.tokens import SamplingPolicy

PACKAGES = {"torch": ("torch", "transformers", "peft"), "onnx": ("onnxruntime", "tokenizers")}
"""Runtime -> the modules it imports."""

EXTRAS = {"torch": "device-torch", "onnx": "device"}
IMPORT_TIMEOUT_S = 120.0
MEMORY_RATIO = 1.5
"""Memory that a model takes per byte of its weights: weights, caches, what a run needs."""

LEAST_INODES = 1_000
LEAST_LOG_BYTES = 64 << 20
"""Room to leave on the disk beside the spool and two updates."""

EARLIEST_UNIX_S = 1_767_225_600.0
"""2026-01-01: a clock before that was never set."""

CLOCK_SLACK_S = 60.0
_MIB = 1 << 20


def runtime_name(config: DeviceConfig, pair: Pair | None) -> str:
    """The runtime that would run `pair`."""
    if config.runtime != "auto":
        return config.runtime
    return "onnx" if pair is not None and pair.exported is not None else "torch"


def check_runtime(name: str) -> Check:
    """Whether the runtime's modules import here, in a process of their own: a wheel built for
    another processor ends the process that imports it.
    """
    packages = PACKAGES[name]
    missing = [each for each in packages if find_spec(each) is None]
    fix = f"pip install 'driftline[{EXTRAS[name]}]'"
    if missing:
        instead = ", or run an export (`driftline models export`), which needs no torch"
        other = instead if name == "torch" else ""
        return fail("runtime", f"{name}: {', '.join(missing)} not installed", fix + other)
    code, last = _python(f"import {', '.join(packages)}")
    if code:
        found = f"{name}: importing ended with {code}: {last[:300]}"
        return fail("runtime", found, f"{fix}, in the build for this machine.")
    return ok("runtime", f"{name}: {', '.join(map(_versioned, packages))}")


def check_compressor(config: DeviceConfig, runtime: str, pair: Pair | None) -> Check:
    """Whether the compressor's name and options are right, its weights there, and the pair one that
    it can read. Under torch a process of its own looks, see `check_runtime`.
    """
    name, fix = config.compressor, "Correct `compressor` and `compressor_options`."
    if runtime == "onnx":
        return _check_portable(config, pair, fix)
    student = "" if pair is None or pair.exported is not None else str(pair.student_dir)
    options = json.dumps(config.compressor_options)
    code, wrong = _python(_CHECK_COMPRESSOR, name, options, student)
    if code:
        return fail("compressor", wrong, fix)
    return ok("compressor", f"{name}; {config.upload_from} may be sent")


def _check_portable(config: DeviceConfig, pair: Pair | None, fix: str) -> Check:
    choice, export = config.compressor_choice, None if pair is None else pair.exported
    try:
        if choice is not None and export is not None and find_spec("onnxruntime"):
            from driftline_device.runtime.onnx.compression.compressing import compressing

            compressing(export, choice, config.upload_from)
        elif choice is not None:
            checked_portable(choice)
    except ConfigError as error:
        return fail("compressor", str(error), fix)
    return ok("compressor", f"{config.compressor}; {config.upload_from} may be sent")


_CHECK_COMPRESSOR = """
import json, pathlib, sys
from driftline_shared.models.compression.loading import check_compressor
from driftline_shared.models.compression.table import checked
from driftline_shared.errors import ConfigError
from driftline_shared.program.compressor import CompressorChoice
name, options, student = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
try:
    if student:
        choice = CompressorChoice(name=name, options=options)
        check_compressor(pathlib.Path(student), choice)
    else:
        checked(name, options)
except ConfigError as error:
    sys.exit(str(error))
"""


def _python(code: str, *arguments: str) -> tuple[int, str]:
    """Exit code of a Python of its own, and the last line of what it complained of."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"took more than {IMPORT_TIMEOUT_S:.0f} s"
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


def _versioned(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package  # onnxruntime-gpu and its like have another name than their module


def check_gate(policy: SamplingPolicy, pair: Pair) -> Check | None:
    """Whether the pair has what the policy's gate score needs; None where it does."""
    kind = policy.gate_score
    try:
        Gate(pair.gate, kind=kind, quantile=policy.gate_quantile)
    except DriftlineError as error:
        fix = (
            "Run `driftline models fit-p-ik` on the pair, and export it again if this is an export."
            if kind == P_IK
            else error.fix
        )
        return fail("gate", str(error), fix)
    return None


def check_camera() -> Check:
    """Whether videos and cameras can be read; most devices need neither."""
    if find_spec("cv2") is None:
        return ok("camera", "OpenCV not installed; videos and cameras need driftline[camera]")
    return ok("camera", "OpenCV is installed")


def check_memory(pair: Pair | None, *, is_running: bool) -> Check:
    """Whether the model of `pair` fits into what is free (a running daemon has it already)."""
    free = available_bytes()
    if free is None:
        return ok("memory", "unknown on this system")
    needed = int(MEMORY_RATIO * weights_bytes(pair)) if pair is not None else 0
    found = f"{free // _MIB} MiB free"
    if not needed or is_running:
        return ok("memory", found)
    found += f", the model takes about {needed // _MIB} MiB"
    if free < needed:
        return fail("memory", found, "Stop other programs, or use a smaller or an exported pair.")
    return ok("memory", found)


def weights_bytes(pair: Pair) -> int:
    """Bytes of the files the device loads for `pair`; 0 where they are not here yet."""
    try:
        if pair.exported is None:
            return sum(path.stat().st_size for path in weight_files(pair.student_dir))
        # Which precision runs depends on what was prepared: the largest is the safe guess.
        return max(each.num_bytes for each in pair.exported.precisions.values())
    except (OSError, DriftlineError):
        return 0


def check_disk(config: DeviceConfig) -> Check:
    """Room for a full spool and two updates, and files for them, where the state lies."""
    folder = config.state
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        return fail("disk", f"{folder}: {error.strerror}", "Name a state folder that can be read.")
    if not os.access(folder, os.W_OK | os.X_OK):
        return warn(
            "disk", f"this user cannot write to {folder}", "Run doctor as the user of the daemon."
        )
    free = disk.f_frsize * disk.f_bavail
    needed = 2 * config.sizes.max_blob_bytes + LEAST_LOG_BYTES
    wanted = needed + 2 * config.spool.max_bytes
    found = f"{free // _MIB} MiB free, {disk.f_favail} files, at {folder}"
    fix = "Free space, or lower spool.max_bytes."
    # Some file systems count no inodes: f_files is 0 there.
    if free < needed or (disk.f_files and disk.f_favail < LEAST_INODES):
        return fail("disk", found, fix)
    if free < wanted:
        return warn("disk", f"{found}; a full spool takes {wanted // _MIB} MiB", fix)
    return ok("disk", found)


def check_clock(newest_unix_s: float, *, now_unix_s: float | None = None) -> Check:
    """Whether the clock can be right; `newest_unix_s`: when the daemon last wrote something."""
    now_s = time.time() if now_unix_s is None else now_unix_s
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    fix = "Set the clock (timedatectl): updates expire and quotas renew by it."
    if now_s < EARLIEST_UNIX_S:
        return fail("clock", f"{shown} was before this version was made", fix)
    if now_s < newest_unix_s - CLOCK_SLACK_S:
        behind_s = newest_unix_s - now_s
        return warn("clock", f"{shown} is {behind_s:.0f} s before the daemon's last status", fix)
    return ok("clock", shown)
