"""The services of docker-compose.yml as processes on loopback, by the commands as they are written:
a sample goes in, a round is worked on the cluster, a version comes out, the page shows it.

Changed are addresses and paths alone; the settings file is the one that is mounted, with a small
pair and short rounds from the environment. `stream` and `device` are left out: they are a demo.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftline_cloud.workers.cluster import connection
from driftline_cloud.workers.cluster.access import Access
from driftline_cloud.workers.cluster.secret import token_place
from driftline_cloud.workers.ray import RayWorkers
from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_device.link.identity import enrol_by
from driftline_proto.v1 import control_pb2_grpc, uplink_pb2_grpc
from driftline_shared import wire
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.rpc.channel import open_channel
from driftline_shared.rpc.rounds import start_round
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import CLOSED_ROUNDS, Enrolment, LineStatus
from driftline_shared.trust.credentials import Credentials, read_credentials
from driftline_shared.trust.invitation import read_invitation
from tests.fakes.pair_samples import make_samples
from tests.fakes.ray_cluster import Node, free_address, raylets_of
from tests.fakes.samples import as_sent, to_batch
from tests.fakes.tiny_pair import make_tiny_pair
from tests.fakes.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[4]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
UP_S = 120.0
TOKEN = "a-token-of-the-test-that-is-long"

SHORT = {
    "drain_s": 5.0,
    "rounds.trigger.enabled": False,
    "rounds.gate_questions": 0,
    "rounds.rehearsal_samples": 0,
    "rounds.recall_samples": 0,
    "gate.sure_of_gain": 0.0,
    "gate.sure_of_harm": 1.0,
    "gate.sure_of_source_harm": 1.0,
    "gate.max_step_ratio": 100.0,
    "dwc.max_fp16_share": 0.5,
    "distil.min_steps": 2,
    "distil.max_steps": 2,
    "distil.gate_source_rows": 8,
    "distil.num_source_rows": 8,
    "distil.confidence_floor": 0.0,
    "distil.threads": 1,
}


@dataclass
class Project:
    """What `docker compose up` would make of the file, in `folder`."""

    folder: Path
    pair: Path
    places: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.head, self.listen, self.page, self.metrics = (free_address() for _ in range(4))
        self.token, settings = self.folder / "cluster-token", self.folder / "cloud.toml"
        self.token.write_text(TOKEN)
        self.token.chmod(0o600)
        self.places = {
            "0.0.0.0:6379": self.head,
            "ray-head:6379": self.head,
            "0.0.0.0:7443": self.listen,
            "0.0.0.0:8090": self.page,
            "/run/secrets/cluster-token": str(self.token),
            "/etc/driftline/cloud.toml": str(settings),
            "/var/lib/driftline": str(self.folder / "state"),
            "/srv/invitation": str(self.folder),
            "cloud:7443": self.listen,
        }
        deployed = self.placed((ROOT / "cloud/deploy/cloud.toml").read_text())
        port = self.metrics.rpartition(":")[2]
        settings.write_text(
            deployed.replace('host = "0.0.0.0"', 'host = "127.0.0.1"').replace(
                "= 9464", f"= {port}"
            )
        )
        program = self.folder / "bin" / "driftline"
        program.parent.mkdir()
        command = shlex.join([sys.executable, "-m", "driftline_shared.program.cli"])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)

    def placed(self, text: str) -> str:
        """`text` with addresses and paths of this machine."""
        return re.sub("|".join(map(re.escape, self.places)), lambda m: self.places[m[0]], text)

    @property
    def environment(self) -> Mapping[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "DRIFTLINE_"))}
        short = {
            f"DRIFTLINE_CLOUD_{key.replace('.', '__').upper()}": json.dumps(value)
            for key, value in SHORT.items()
        }
        return (
            own
            | short
            | {
                "DRIFTLINE_CLOUD_PAIR": str(self.pair),
                "HOME": str(self.folder),
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            }
        )

    def command(self, service: str) -> list[str]:
        """What the service's container would run."""
        made = SERVICES[service]
        words = [*made.get("entrypoint", ["driftline"]), *made["command"]]
        return [self.placed(word) for word in words]

    def once(self, service: str) -> None:
        """Run a service that ends by itself."""
        done = subprocess.run(
            self.command(service),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=UP_S,
        )
        assert done.returncode == 0, done.stderr

    def up(self, service: str) -> None:
        """Start a service that stays."""
        with (self.folder / f"{service}.log").open("wb") as log:
            self.running[service] = subprocess.Popen(
                self.command(service),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a container of its own
            )

    def said(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text(errors="replace")

    def wait_healthy(self, service: str, words: str) -> None:
        """Until it has said `words`."""

        def is_there() -> bool:
            assert self.running[service].poll() is None, self.said(service)
            return words in self.said(service)

        until(is_there, UP_S)

    def down(self) -> dict[str, int]:
        """SIGTERM to all; their exit codes. What is left is killed."""
        codes = {}
        for process in reversed(self.running.values()):
            process.send_signal(signal.SIGTERM)
        for service, process in reversed(self.running.items()):
            try:
                codes[service] = process.wait(40)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return codes

    def line(self) -> LineStatus:
        (line,) = fetch_status(self.listen, timeout_s=20.0, credentials=self.operator).lines
        return line

    @property
    def operator(self) -> Credentials:
        """Of whom `init` made."""
        return read_credentials(self.folder / "state" / "trust" / "operator")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(make_tiny_pair(tmp_path_factory.mktemp("pair"), quantization="int8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Iterator[Project]:
    found = Project(tmp_path_factory.mktemp("compose"), pair.dir)
    with ExitStack() as undo:
        undo.callback(found.down)
        found.once("init")
        found.once("init")  # at the next `up`
        for service, words in (
            ("ray-head", "is up"),
            ("cloud", "cloud.serving"),
            ("ray-worker", "joined"),
            ("page", "the pages are at"),
            ("work", "joined"),
        ):
            found.up(service)
            found.wait_healthy(service, words)
        found.once("invitation")
        yield found
        undo.pop_all()
    codes = found.down()
    assert codes == dict.fromkeys(codes, 0)
    assert TOKEN not in "".join(map(found.said, codes))
    until(lambda: raylets_of(found.head) == [], 20)


def test_a_round_is_worked_by_the_services_of_compose(project: Project, pair: Pair) -> None:
    file = project.folder / "device"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    invitation = read_invitation(file.read_text().strip())
    state = project.folder / "device-state"
    device = enrol_by(invitation, state, label="", timeout_s=20).identity
    own = read_credentials(state / "identity")
    enrolment = Enrolment(
        device_id=device,
        pair=pair.name,
        token_space=pair.token_space.digest,
        base_model=pair.base_model,
        adapter_version=0,
    )
    samples = make_samples(pair, 8)
    with open_channel(project.listen, credentials=own) as channel:
        control_pb2_grpc.ControlStub(channel).Enrol(wire.to_enrolment(enrolment), timeout=20)
        batch = as_sent(to_batch(device, pair.token_space.digest, samples))
        (reply,) = uplink_pb2_grpc.UplinkStub(channel).Push(iter([batch]), timeout=20)
    assert [ack.verdict for ack in wire.from_acks(reply)] == ["stored"] * 8
    begun = start_round(project.listen, "", timeout_s=20, credentials=project.operator)
    assert begun.num_samples == 8

    def is_over() -> bool:
        assert project.running["work"].poll() is None, project.said("work")
        round_ = project.line().round
        assert round_ is not None
        return round_.state in CLOSED_ROUNDS

    until(is_over, 300)
    line = project.line()
    assert line.round is not None
    assert (line.round.state, line.newest_version) == ("done", 1), project.said("work")
    with urllib.request.urlopen(f"http://{project.page}/rounds?format=json", timeout=20) as shown:
        (row,) = json.load(shown)["rounds"]
    assert row["state"] == "done"
    with urllib.request.urlopen(f"http://{project.metrics}/metrics", timeout=20) as shown:
        assert "driftline_cloud_" in shown.read().decode()


def test_every_service_of_our_images_is_run_here_or_is_of_the_demo(project: Project) -> None:
    ours = {name for name, made in SERVICES.items() if "build" in made}
    assert set(project.running) == ours - {"stream", "device", "init", "invitation"}


def test_the_probe_of_the_head_says_that_it_is_well(project: Project) -> None:
    probe = SERVICES["ray-head"]["healthcheck"]["test"]
    assert probe[0] == "CMD"
    done = subprocess.run(
        [project.placed(word) for word in probe[1:]],
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def access_by(token: Path) -> Access:
    return Access(token=token_place(token))


def test_another_token_is_one_sentence_with_the_fix(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another-token-of-the-test")
    other.chmod(0o600)
    node = Node(["cloud", "cluster", "join", project.head, "--token-file", str(other)], tmp_path)
    assert node.process.wait(60) == 2
    assert f"the Ray cluster at {project.head} has another token" in node.text
    assert "Traceback" not in node.text
    error, fix = node.text.splitlines()[-2:]  # before them, Ray may log a line of its own
    assert error.startswith("error: ") and "cluster token" in fix
    with pytest.raises(ConfigError, match="another token"):
        RayWorkers(address=project.head, access=access_by(other))
    with pytest.raises(ConfigError, match="not there"):
        RayWorkers(address=project.head, access=access_by(tmp_path / "none"))


def test_a_cluster_that_is_not_there_is_said_in_the_time_that_is_given(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connection.REACH_S <= 20  # Ray alone takes a quarter of an hour
    monkeypatch.setattr(connection, "REACH_S", 1.0)
    with pytest.raises(WorkersUnreachableError, match="no Ray cluster answers"):
        RayWorkers(address=free_address(), access=access_by(project.token))
