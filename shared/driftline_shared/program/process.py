"""What holds for a whole process before anything of a third party is imported: nothing calls home,
nothing fetches code, loopback is never asked of a proxy, text is UTF-8.

Every entry point calls `set_up_process` first: the command, the lab's own processes, Ray's workers.
An owner's own value of a variable stands. Only the standard library is imported here.
"""

from __future__ import annotations

import locale
import logging
import os
import sys
import tempfile
from collections.abc import MutableMapping

from driftline_shared.program.proxies import spare_loopback

QUIET = {
    # onnxruntime from 1.29 on sends events to its maker, and keeps them below the home folder.
    "ORT_DISABLE_TELEMETRY": "1",
    # huggingface_hub and transformers: usage, a newer release, a conversion asked of the hub. What
    # a pair names by its id is fetched still: that its owner wrote down.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "DO_NOT_TRACK": "1",
    # Each handshake of a stranger that fails would be a line of gRPC's own in the log.
    "GRPC_VERBOSITY": "ERROR",
    # Read by the processes that Ray starts.
    "RAY_USAGE_STATS_ENABLED": "0",
    # For processes that this one starts; its own mode was chosen before our code ran.
    "PYTHONUTF8": "1",
}
"""Variables that are set where the environment says nothing."""

FETCHERS = ("kernels",)
"""Packages whose one purpose is to fetch compiled code and run it: bitsandbytes asks for one on
processors with AVX-512 BF16 and does without where it is not installed. So it is not, for us."""

_SHARED_MEMORY = ("/dev/shm", "/run/shm")

_ASKERS = ("bitsandbytes.backends.cpu.ops",)
"""Loggers that warn of a fetcher that is not there."""


def set_up_process(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set this process up; whatever it starts later inherits it. Again: nothing changes."""
    for name, value in QUIET.items():
        environment.setdefault(name, value)
    spare_loopback(environment)
    have_temporary_folder(environment)
    for package in FETCHERS:
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
    for name in _ASKERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def have_temporary_folder(environment: MutableMapping[str, str] = os.environ) -> None:
    """Where no usual folder for temporary files can be written (a full or read-only disk), take the
    machine's shared memory, else name one that is only looked for: libraries ask for its name when
    they are imported, and few ever write there.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        shared = next((place for place in _SHARED_MEMORY if os.access(place, os.W_OK)), "")
        tempfile.tempdir = shared or "/tmp"
        environment["TMPDIR"] = tempfile.tempdir


def run_in_utf8() -> None:
    """Begin the program anew in Python's UTF-8 mode if its locale has another encoding.

    Arguments, file names, and files that libraries open then are UTF-8, too; the process keeps its
    id. Nothing happens under PYTHONUTF8=0, or where the interpreter was not started from a file.
    """
    encoding = locale.getencoding().lower().replace("_", "-")
    if sys.flags.utf8_mode or encoding in ("utf-8", "utf8") or not sys.executable:
        return
    if os.environ.get("PYTHONUTF8") == "0":
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
