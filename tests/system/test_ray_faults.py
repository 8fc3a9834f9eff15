"""Processes, nodes and the head of a Ray cluster, killed while a round labels and distils.

What comes out is what comes out undisturbed, and no sample is asked about twice but those of the
batch that a killed labeller had. A cluster of four nodes is started three times, for minutes:

    DRIFTLINE_RAY_FAULTS=1 pytest tests/system/test_ray_faults.py
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.distill.checkpoints.kept import StoredCheckpoints
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import load_models
from driftline_cloud.jobs import DistillJob, Label
from driftline_cloud.workers.cluster.access import Access
from driftline_cloud.workers.cluster.secret import token_place
from driftline_cloud.workers.local import LocalWorkers
from driftline_cloud.workers.ray import RayWorkers
from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_shared.callbacks import ignore
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.update import adapter_digest
from tests.fakes.counting_labeller import CountingLabeller
from tests.fakes.pair_samples import make_samples
from tests.fakes.ray_cluster import SMALL, Node, free_address
from tests.fakes.tiny_pair import make_tiny_pair

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1200),
    pytest.mark.skipif("DRIFTLINE_RAY_FAULTS" not in os.environ, reason="minutes: by hand"),
]

BATCH = 4
NUM_STEPS = 60
SETTINGS: dict[str, object] = {
    "threads": 1,
    "min_steps": NUM_STEPS,
    "max_steps": NUM_STEPS,
    "batch_size": 8,
    "num_source_rows": 12,
    "confidence_floor": 0.0,
    "label_batch_size": BATCH,
}


class CountedWorkers(RayWorkers):
    labeller = CountingLabeller


def processes(word: bytes, among: bytes) -> list[int]:
    """Ids of processes whose program has `word` in its name, and `among` in its command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if word in line.split(b"\0")[0] and among in line:
            found.append(int(folder.name))
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@dataclass
class Cluster:
    """Head, a node beside this process without CPUs, and two nodes that work."""

    home: Path
    address: str = field(default_factory=free_address)
    head: Node | None = None
    others: list[Node] = field(default_factory=list)

    @property
    def access(self) -> Access:
        return Access(token=token_place(self.home / "token"))

    def up(self) -> None:
        token = self.home / "token"
        token.write_text("a-token-of-the-test-that-is-long")
        token.chmod(0o600)
        words = ["--token-file", str(token), *SMALL]
        self.head = Node(
            ["cloud", "cluster", "up", "--listen", self.address, "--cpus", "0", *words], self.home
        )
        self.head.wait_for("is up")
        self.others = []
        for cpus in ("0", "1", "1"):
            join = ["cloud", "cluster", "join", self.address, "--cpus", cpus, *words]
            self.others.append(Node(join, self.home))
            self.others[-1].wait_for("joined")

    def lose_head(self) -> None:
        """Its state is lost; its nodes are started again, as a supervisor would."""
        port = self.address.rpartition(":")[2].encode()
        for pid in processes(b"gcs_server", b"port=" + port):
            os.kill(pid, signal.SIGKILL)
        assert self.head is not None
        self.head.process.wait(60)
        self.down()
        self.up()

    def down(self) -> None:
        for node in [*reversed(self.others), self.head]:
            if node is not None and node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        for node in [*self.others, self.head]:
            if node is not None:
                node.process.wait(60)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(home=tmp_path_factory.mktemp("home"))
    try:
        started.up()
        yield started
    finally:
        started.down()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(make_tiny_pair(tmp_path_factory.mktemp("world") / "pair"))


@pytest.fixture
def workers(cluster: Cluster) -> Iterator[CountedWorkers]:
    settings = DistilSettings.from_mapping(SETTINGS)
    found = CountedWorkers(settings=settings, address=cluster.address, access=cluster.access)
    yield found
    found.close()


def test_no_label_is_asked_twice_but_of_the_batches_under_way(
    cluster: Cluster, pair: Pair, workers: CountedWorkers
) -> None:
    samples = make_samples(pair, 24 * BATCH)
    expected = LocalWorkers(settings=DistilSettings.from_mapping(SETTINGS)).label(
        pair.dir, samples, ignore
    )
    log = pair.dir.parent / "asked"
    kept: dict[bytes, Label] = {}
    faults: list[str] = []

    def keep(labels: Sequence[Label]) -> None:
        kept.update({one.sample_id: one for one in labels})
        pid = int(log.read_text().splitlines()[-1].split()[0])
        if len(kept) >= 4 * BATCH and not faults:
            faults.append("labeller")
            os.kill(pid, signal.SIGKILL)
        elif len(kept) >= 10 * BATCH and faults == ["labeller"]:
            faults.append("node")
            os.kill(parent_of(pid), signal.SIGKILL)
        elif len(kept) >= 16 * BATCH and faults == ["labeller", "node"]:
            faults.append("head")
            cluster.lose_head()

    with pytest.raises(WorkersUnreachableError):
        workers.label(pair.dir, samples, ignore, keep=keep)
    assert faults == ["labeller", "node", "head"]
    workers.label(pair.dir, samples, ignore, set(kept), keep)
    assert [kept[one.id] for one in samples] == expected
    asked = Counter(one for line in log.read_text().splitlines() for one in line.split()[1:])
    again = sum(count - 1 for count in asked.values())
    # One batch of the killed labeller, one of the lost node, two under way when the head was lost.
    assert set(asked) == {one.id.hex() for one in samples} and again <= 4 * BATCH


def test_a_distillation_ends_with_the_same_bytes(
    cluster: Cluster, pair: Pair, workers: CountedWorkers, tmp_path: Path
) -> None:
    local = LocalWorkers(settings=DistilSettings.from_mapping(SETTINGS))
    samples = make_samples(pair, 24, seed=1)
    labels = local.label(pair.dir, samples, ignore)
    job = DistillJob(
        pair_dir=pair.dir,
        seed=5,
        start=load_models(pair.dir).initial,
        samples=samples,
        labels=labels,
        settings=SETTINGS,
    )
    here = local.distil(job, ignore)
    # Warm on both nodes: what is on the one that is left has to make way.
    while len(workers.labelling_pids()) < 2:
        workers.label(pair.dir, samples, ignore)
    checkpoints = StoredCheckpoints(store=FolderStore(tmp_path), key="kept", every_s=0.01)
    faults: list[str] = []
    shares: list[float] = []

    def watch(share: float) -> None:
        shares.append(share)
        pid = workers.distilling_pid
        if pid is None or checkpoints.store.size("kept") is None:
            return
        if not faults:
            faults.append("node")
            os.kill(parent_of(pid), signal.SIGKILL)
        elif share >= 0.6 and faults == ["node"]:
            faults.append("head")
            cluster.lose_head()

    with pytest.raises(WorkersUnreachableError):
        workers.distil(job, watch, checkpoints)
    assert faults == ["node", "head"]
    before = len(shares)
    there = workers.distil(job, watch, checkpoints)
    assert shares[before] > 0.1  # on from the checkpoint
    assert adapter_digest(there.adapter) == adapter_digest(here.adapter)
    assert adapter_digest(there.importance) == adapter_digest(here.importance)
    assert there.numbers == here.numbers
