"""The cluster that docker-compose.yml describes, its commands run as processes on loopback."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.workers.cluster import connection
from driftline_cloud.workers.cluster.access import Access
from driftline_cloud.workers.cluster.secret import token_place
from driftline_cloud.workers.local import LocalWorkers
from driftline_cloud.workers.ray import RayWorkers
from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import load_pair
from tests.fakes.pair_samples import make_samples
from tests.fakes.ray_cluster import SMALL, Node, free_address, nodes, raylets_of
from tests.fakes.tiny_pair import make_tiny_pair

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

COMPOSE = Path(__file__).resolve().parents[4] / "docker-compose.yml"
SETTINGS: dict[str, object] = {"threads": 1, "label_batch_size": 4}
TOKEN = "a-token-of-the-test-that-is-long"


def composed(address: str, token: Path) -> list[list[str]]:
    """The commands of head, two workers and the node beside what works."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    shell = services["work"]["command"][0].partition("&")[0]
    beside = [word for word in shlex.split(shell) if word != "driftline"]
    worker = [*services["ray-worker"]["command"], "--cpus", "1"]
    places = {
        "0.0.0.0:6379": address,
        "ray-head:6379": address,
        "/run/secrets/cluster-token": str(token),
    }
    return [
        [*(places.get(word, word) for word in command), *SMALL]
        for command in (services["ray-head"]["command"], worker, worker, beside)
    ]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secrets") / "cluster-token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def cluster(token: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = free_address()
    with nodes(composed(address, token), tmp_path_factory.mktemp("home")) as started:
        yield address
        assert TOKEN not in "".join(node.text for node in started)
        assert [node.end() for node in reversed(started)] == [0, 0, 0, 0]
    assert raylets_of(address) == []


def access_by(token: Path) -> Access:
    return Access(token=token_place(token))


def test_the_cluster_of_compose_labels(cluster: str, token: Path, tmp_path: Path) -> None:
    pair = load_pair(make_tiny_pair(tmp_path / "pair"))
    samples = make_samples(pair, 12)
    settings = DistilSettings.from_mapping(SETTINGS)
    workers = RayWorkers(settings=settings, address=cluster, access=access_by(token))
    try:
        found = workers.label(pair.dir, samples, ignore)
    finally:
        workers.close()
    assert found == LocalWorkers(settings=settings).label(pair.dir, samples, ignore)


def test_another_token_is_one_sentence_with_the_fix(cluster: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another-token-of-the-test")
    other.chmod(0o600)
    node = Node(["cloud", "cluster", "join", cluster, "--token-file", str(other)], tmp_path)
    assert node.process.wait(60) == 2
    assert f"the Ray cluster at {cluster} has another token" in node.text
    assert "Traceback" not in node.text
    error, fix = node.text.splitlines()[-2:]  # before them, Ray may log a line of its own
    assert error.startswith("error: ") and "cluster token" in fix
    with pytest.raises(ConfigError, match="another token"):
        RayWorkers(address=cluster, access=access_by(other))
    with pytest.raises(ConfigError, match="not there"):
        RayWorkers(address=cluster, access=access_by(tmp_path / "none"))


def test_a_cluster_that_is_not_there_is_said_in_the_time_that_is_given(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connection.REACH_S <= 20  # Ray alone takes a quarter of an hour
    monkeypatch.setattr(connection, "REACH_S", 1.0)
    with pytest.raises(WorkersUnreachableError, match="no Ray cluster answers"):
        RayWorkers(address=free_address(), access=access_by(token))
