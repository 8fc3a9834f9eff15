"""A cloud that is killed while it publishes: what is on disk is one whole version or the next."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import PackSetting, pack
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_shared.update import adapter_digest
from driftline_shared.update_apply import apply_update
from tests.fakes.adapters import LINE, lora_adapter, same_bits, sqrt_fisher, trained

BASE = lora_adapter()
ROOT = Path(__file__).parents[3]
DEADLINE_S = 60.0


def publish_round(registry: ReleaseRegistry, number: int) -> None:
    """Round `number` made from the version before it: the same bytes whenever it is done again."""
    base = registry.canonical(LINE.id, number - 1)
    packed = pack(
        base,
        trained(base, number),
        {},
        sqrt_fisher(base),
        PackSetting(share=0.25, quantizer="linear2"),
    )
    lineage = Lineage(round_id=f"r{number}", num_samples=1, created_unix_s=1_800_000_000)
    registry.publish(LINE.id, packed, lineage)


def publish_for_ever(folder: Path) -> None:
    """The child: opens the registry and goes on from the newest version, saying so."""
    registry = ReleaseRegistry(folder)
    registry.open_line(LINE, BASE)
    while True:
        number = registry.newest_version(LINE.id) + 1
        publish_round(registry, number)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def check_whole(folder: Path, said: int) -> int:
    """Every version is there, whole, and reachable; what was said to be published is published."""
    registry = ReleaseRegistry(folder)
    newest = registry.newest_version(LINE.id)
    assert newest in (said, said + 1)
    assert not list(folder.rglob(".*.new"))
    adapter = registry.canonical(LINE.id, 0)
    assert same_bits(adapter, BASE)
    for version in range(1, newest + 1):
        step = registry.manifest(LINE.id, version)
        adapter = apply_update(adapter, step, registry.blobs.get(step.blob_digest))
        assert adapter_digest(registry.canonical(LINE.id, version)) == step.target_digest
    # The residual is the newest version's: together they are what the round wanted.
    assert registry.residual(LINE.id).keys() == BASE.keys()
    if newest:
        publish_round(registry, newest)
        assert registry.newest_version(LINE.id) == newest
    return newest


@pytest.mark.integration
def test_kill_nine_while_publishing_leaves_whole_versions(tmp_path: Path) -> None:
    rng = random.Random(0)
    said = 0
    for _ in range(6):
        code = (
            "from pathlib import Path; import sys;"
            "from tests.integration.cloud.test_release_kill import publish_for_ever;"
            "publish_for_ever(Path(sys.argv[1]))"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert child.stdout is not None
        try:
            wanted = said + rng.randint(1, 4)
            deadline_s = time.monotonic() + DEADLINE_S
            while said < wanted:
                line = child.stdout.readline()
                assert line and time.monotonic() < deadline_s, "the child does not publish"
                if line.strip().isdigit():
                    said = int(line)
            time.sleep(rng.uniform(0, 0.02))  # somewhere inside the next publish
        finally:
            child.kill()
            rest = child.stdout.read()
            child.stdout.close()
            child.wait(DEADLINE_S)
        said = max([said, *(int(word) for word in rest.split() if word.isdigit())])
        said = check_whole(tmp_path, said)
    assert said >= 6
