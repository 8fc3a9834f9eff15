"""What lies in files: state, settings, rows, adapters, what a cloud keeps of a version."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError

from driftline_cloud.config import load_config as load_cloud
from driftline_cloud.release.manifests import manifest_from_json, manifest_to_json
from driftline_device.config import load_config as load_device
from driftline_device.sources.dataset import DatasetSource
from driftline_lab.bench.fuzz.formats.material import BASE, good_manifests
from driftline_lab.bench.fuzz.formats.target import Target
from driftline_shared.codec.adapters import adapter_from_bytes, adapter_to_bytes
from driftline_shared.errors import DriftlineError
from driftline_shared.host.durable import read_json, write_json
from driftline_shared.p_ik.head import LEVELS, IkHead, head_from_bytes, head_to_bytes

_DEVICE = b"""
pair = "tiny"
cloud = "127.0.0.1:7443"
budget = "2 MB/day"
sources = ["rtsp://camera/1"]
[sampling]
gate_quantile = 0.5
[probe]
num_timed = 4
[[sinks]]
kind = "webhook"
url = "http://127.0.0.1:9/answers"
[[watches]]
name = "door"
equals = "open"
"""

_CLOUD = b"""
listen = "127.0.0.1:0"
database_url = "postgresql://u:p@db/d"
[rounds.trigger]
round_samples = 128
[rollout]
shares = [0.1, 1.0]
[sampling]
token_codec = "int4"
"""


def on_disk() -> dict[str, Target]:
    """By name."""
    return {
        "adapter": Target(
            corpus=(adapter_to_bytes(BASE),),
            read=adapter_from_bytes,
            # What loads a slot or a version takes all of these for a broken file.
            refusals=(DriftlineError, SafetensorError, ValueError, KeyError),
            modules=("driftline_shared.codec.adapters",),
        ),
        "state": Target(
            corpus=(_state(),),
            read=_as_file("state.json", read_json),
            refusals=(ValueError,),
            modules=("driftline_shared.host.durable",),
        ),
        "jsonl": Target(
            corpus=(_rows(),),
            read=_as_file("rows.jsonl", lambda path: list(DatasetSource(path))),
            refusals=(DriftlineError,),
            modules=("driftline_device.sources.dataset",),
        ),
        "device-settings": Target(
            corpus=(_DEVICE,),
            read=_as_file("device.toml", lambda path: load_device(path, {}, {})),
            refusals=(DriftlineError,),
            modules=("driftline_shared.program", "driftline_device"),
        ),
        "cloud-settings": Target(
            corpus=(_CLOUD,),
            read=_as_file("cloud.toml", lambda path: load_cloud(path, {}, {})),
            refusals=(DriftlineError,),
            modules=("driftline_shared.program", "driftline_cloud"),
        ),
        "stored-manifest": Target(
            corpus=tuple(manifest_to_json(manifest) for manifest, _ in good_manifests()),
            read=manifest_from_json,
            refusals=(DriftlineError,),
            modules=("driftline_cloud.release.manifests", "driftline_shared.bounds"),
        ),
        "p-ik-head": Target(
            corpus=(_head(),),
            read=head_from_bytes,
            refusals=(DriftlineError,),
            modules=("driftline_shared.p_ik.head",),
        ),
    }


@cache
def scratch() -> Path:
    """A folder of this process, in memory where that can be, with one picture."""
    shared = Path("/dev/shm")
    place = str(shared) if shared.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="driftline-fuzz-", dir=place))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "it.png")
    return folder


def _as_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def write_and_read(data: bytes) -> object:
        path = scratch() / name
        path.write_bytes(data)
        return read(path)

    return write_and_read


def _state() -> bytes:
    path = scratch() / "made.json"
    write_json(path, {"phase": "active", "version": 3, "numbers": {"a": 0.5}}, sealed=True)
    return path.read_bytes()


def _rows() -> bytes:
    rows = [
        {"image": "it.png", "question": "what is it?", "answer": "é"},
        {"image": "it.png", "question": "and now?", "domain": "night"},
        {"image": "../outside.png", "question": "?"},
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _head() -> bytes:
    return head_to_bytes(
        IkHead(
            weights=np.asarray([0.0, 4.0, 0.0, 0.0]), bias=-2.0,
            quantiles=np.linspace(1.0, -1.0, len(LEVELS)).astype(np.float16).astype(np.float64),
            num_source=99, version=2,
        )
    )  # fmt: skip
