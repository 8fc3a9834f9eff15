"""docker-compose.yml and Dockerfiles: Compose takes them, and the project has what they name."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftline_cloud.config import load_config as load_cloud_config
from driftline_device.config import load_config as load_device_config
from driftline_device.sources.table import parse_address
from tests.unit.project.command_line import parse, words

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
DOCKERFILES = [
    ROOT / name
    for name in ("cloud/Dockerfile", "device/Dockerfile", "device/deploy/jetson.Dockerfile")
]
CLOUD = load_cloud_config(ROOT / "cloud/deploy/cloud.toml", {}, {})
DEVICE = load_device_config(ROOT / "device/deploy/device.toml", {}, {})


NEWER = (
    ("name: driftline\n", ""),
    ("    environment: CLUSTER_TOKEN\n", "    file: ./cluster-token\n"),
)
"""All that Compose 1.29 (Debian's) does not read, and what stands for it there."""


@dataclass(frozen=True)
class Compose:
    """A Compose of this machine. `is_old`: version 1, which reads no `NEWER`."""

    command: tuple[str, ...]
    is_old: bool

    def check(self, text: str) -> subprocess.CompletedProcess[str]:
        """`config` of a file with that text."""
        for new, old in NEWER if self.is_old else ():
            assert text.count(new) == 1
            text = text.replace(new, old)
        return self.config(text)

    def config(self, text: str) -> subprocess.CompletedProcess[str]:
        """`config` of that text as it is."""
        command = [*self.command, "--project-directory", str(ROOT), "-f", "-", "config", "-q"]
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"CLUSTER_TOKEN": "0" * 64},
        )


@pytest.fixture(scope="module")
def compose() -> Compose:
    """Compose, the newest there is; the test is skipped where there is none."""
    found: list[Compose] = []
    for command in (("docker", "compose"), ("docker-compose",)):
        try:
            run = subprocess.run(
                [*command, "version", "--short"], capture_output=True, text=True, timeout=30
            )
        except FileNotFoundError:
            continue
        if run.returncode == 0:
            found.append(Compose(command, run.stdout.startswith("1.")))
    if not found:
        pytest.skip("no Docker Compose (Debian: docker-compose)")
    return min(found, key=lambda one: one.is_old)


def steps(dockerfile: Path, word: str) -> list[str]:
    """What follows each `word`; continued lines are one."""
    text = re.sub(r"\\\n\s*", " ", dockerfile.read_text())
    return re.findall(rf"^{word} (.*)$", text, flags=re.MULTILINE)


def commands() -> Iterator[list[str]]:
    """Every `driftline` line that a container or its probe runs."""
    for dockerfile in DOCKERFILES:
        (start,), (probe,) = steps(dockerfile, "CMD"), steps(dockerfile, "HEALTHCHECK")
        yield ["driftline", *json.loads(start)]
        yield json.loads(probe[probe.index("[") :])
    for service in SERVICES.values():
        if service.get("entrypoint") == ["sh", "-c"]:
            for line in re.split("&+", service["command"][0]):
                yield words(line)
        elif "build" in service and "entrypoint" not in service:
            yield ["driftline", *service["command"]]


def test_compose_takes_the_file(compose: Compose) -> None:
    run = compose.check(COMPOSE.read_text())
    assert (run.returncode, run.stderr) == (0, "")


def test_what_an_old_compose_does_not_read_is_all_that_it_complains_of(compose: Compose) -> None:
    if not compose.is_old:
        pytest.skip("this Compose reads the file as it is")
    run = compose.config(COMPOSE.read_text())
    told = [line for line in run.stderr.splitlines() if "does not match" in line]
    assert [line.split()[0] for line in told] == ["secrets.cluster-token", "'name'"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("networks: [edge]", "networks: [lan]"),
        ("      ray-head:\n        condition", "      redis:\n        condition"),
        ("- device-state:", "- state:"),
        ("shm_size: 1gb", "shm_sise: 1gb"),
    ],
)
def test_compose_finds_a_mistake(compose: Compose, old: str, new: str) -> None:
    if compose.is_old and "networks" in old:
        pytest.skip("Compose 1.29 looks at the names of networks when it starts them")
    text = COMPOSE.read_text()
    assert old in text
    assert compose.check(text.replace(old, new, 1)).returncode != 0


@pytest.mark.parametrize("command", [line for line in commands() if line[0] != "ray"], ids=str)
def test_the_program_takes_every_command(command: list[str]) -> None:
    assert command[0] == "driftline"
    parse(command)


def test_a_command_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no sub-command"):
        parse(["driftline", "device", "start"])
    with pytest.raises(Exception, match="No such option"):
        parse(["driftline", "device", "run", "--no-such"])


def test_what_is_mounted_or_copied_is_in_the_checkout() -> None:
    mounts = [v for s in SERVICES.values() for v in s.get("volumes", []) if v.startswith(".")]
    assert mounts and all(mount.endswith(":ro") for mount in mounts)
    copies = [line.split()[:-1] for file in DOCKERFILES for line in steps(file, "COPY")]
    named = [mount.split(":")[0] for mount in mounts] + [name for line in copies for name in line]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_addresses_are_those_of_the_settings() -> None:
    address = f"cloud:{CLOUD.listen.rpartition(':')[2]}"
    (started,) = SERVICES["device"]["command"]
    invited = SERVICES["invitation"]["command"]
    assert DEVICE.cloud == started.split()[-1] == address
    assert invited[invited.index("--address") + 1] == address
    metrics = yaml.safe_load((ROOT / "cloud/deploy/prometheus.yml").read_text())["scrape_configs"]
    targets = {t for job in metrics for part in job["static_configs"] for t in part["targets"]}
    assert targets == {f"cloud:{CLOUD.metrics.port}", f"device:{DEVICE.metrics.port}"}
    for side, config in (("cloud", CLOUD), ("device", DEVICE)):
        (ports,) = steps(ROOT / side / "Dockerfile", "EXPOSE")
        assert str(config.metrics.port) in ports.split()


@pytest.mark.parametrize("name", ["device.toml", "jetson.toml"])
def test_deployed_settings_of_devices_load(name: str) -> None:
    config = load_device_config(ROOT / "device/deploy" / name, {}, {})
    assert str(config.state) == "/var/lib/driftline"
    for source in config.sources:
        parse_address(source)


def test_ray_is_out_of_reach_of_devices_and_ports_are_loopback() -> None:
    head = SERVICES["ray-head"]
    assert head["networks"] == SERVICES["ray-worker"]["networks"] == ["cluster"]
    assert SERVICES["cloud"]["networks"] == SERVICES["device"]["networks"] == ["edge"]
    assert "ports" not in head
    for service in (head, SERVICES["ray-worker"], SERVICES["work"]):
        (secret,) = service["secrets"]
        assert secret["source"] == "cluster-token"
        assert secret["mode"] == 0o400  # of the images' user, and of nobody else
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_nobody_calls_the_cloud_without_a_certificate() -> None:
    made, after = "service_completed_successfully", "depends_on"
    assert SERVICES["cloud"][after] == {"init": {"condition": made}}
    assert SERVICES["device"][after]["invitation"] == {"condition": made}
    assert SERVICES["init"]["command"][:3] == ["cloud", "init", "--keep"]
    invited, (started,) = SERVICES["invitation"]["command"], SERVICES["device"]["command"]
    assert f"enrol --file {invited[invited.index('--out') + 1]} " in started


def test_serving_and_working_share_state_and_settings_and_have_time_to_stop() -> None:
    serve, work = SERVICES["cloud"], SERVICES["work"]
    assert "--no-work" in serve["command"]
    assert set(serve["volumes"]) == set(work["volumes"])
    for service in (serve, work):
        # `drain_s` and the five seconds after which a program leaves.
        assert int(service["stop_grace_period"].removesuffix("s")) >= CLOUD.drain_s + 5


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_does_not_run_as_root(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert steps(dockerfile, "USER")[-1] == "driftline"
    assert text.rindex("\nUSER ") < text.index("\nENTRYPOINT ")


def test_the_recipe_for_a_jetson_replaces_onnxruntime_after_everything_else() -> None:
    runs = steps(ROOT / "device/deploy/jetson.Dockerfile", "RUN")
    (swap,) = (number for number, rest in enumerate(runs) if "uninstall -y onnxruntime" in rest)
    assert swap > max(number for number, rest in enumerate(runs) if '".[' in rest)
    assert "--no-deps" in runs[swap]
