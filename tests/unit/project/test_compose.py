"""docker-compose.yml and Dockerfiles name only what exists; a wrong name is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.project.containers import Dockerfile, Project, command_problems

Services = dict[str, Any]


def test_everything_named_exists() -> None:
    assert Project.read().problems() == []


def test_the_services_are_those_the_readme_promises() -> None:
    services = Project.read().compose["services"]
    assert {"ray-head", "ray-worker", "cloud", "device", "prometheus"} <= set(services)
    assert "replicas" in services["ray-worker"]["deploy"]
    assert "--workers ray" in " ".join(services["cloud"]["command"])


def test_ray_is_out_of_reach_of_devices() -> None:
    project = Project.read()
    services = project.compose["services"]
    assert services["ray-head"]["networks"] == ["cluster"]
    assert services["ray-worker"]["networks"] == ["cluster"]
    assert "cluster" not in services["device"]["networks"]
    assert "ports" not in services["ray-head"]
    assert "--dashboard-host=127.0.0.1" in services["ray-head"]["command"]


MUTATIONS: dict[str, Callable[[Services], object]] = {
    "a flag that does not exist": lambda s: s["device"]["command"].append("--no-such-flag"),
    "a sub-command that does not exist": lambda s: s["stream"]["command"].__setitem__(1, "flow"),
    "a ray flag that does not exist": lambda s: s["ray-worker"]["command"].append("--hed"),
    "a flag in a shell line": lambda s: s["cloud"]["command"].__setitem__(
        0, s["cloud"]["command"][0] + " --wokers ray"
    ),
    "an extra that does not exist": lambda s: s["device"]["build"]["args"].update(EXTRA="edge"),
    "a build argument that does not exist": lambda s: s["cloud"]["build"]["args"].update(EXTRAS=1),
    "a Dockerfile that does not exist": lambda s: s["cloud"]["build"].update(
        dockerfile="Dockerfile"
    ),
    "a file that does not exist": lambda s: s["prometheus"]["volumes"].append(
        "./x.yml:/prometheus:ro"
    ),
    "a volume that is not declared": lambda s: s["device"]["volumes"].append(
        "x:/var/lib/driftline"
    ),
    "a folder the image lacks": lambda s: s["device"]["volumes"].append("stream:/data"),
    "a path not in the container": lambda s: s["device"].update(
        volumes=["device-state:/var/lib/driftline"]
    ),
    "a network that is not declared": lambda s: s["device"]["networks"].append("lan"),
    "no shared network": lambda s: s["device"].update(networks=["cluster"]),
    "the wrong port of the cloud": lambda s: s["device"]["command"].__setitem__(-1, "cloud:7444"),
    "an unknown host": lambda s: s["device"]["command"].__setitem__(-1, "clod:7443"),
    "the wrong port of the Ray head": lambda s: s["ray-head"]["command"].__setitem__(
        2, "--port=6380"
    ),
    "a published port nobody opens": lambda s: s["cloud"].update(ports=["127.0.0.1:1:7000"]),
    "a port open to the world": lambda s: s["cloud"].update(ports=["7443:7443"]),
    "a dependency that does not exist": lambda s: s["device"]["depends_on"].update(
        redis={"condition": "service_started"}
    ),
    "no health check where one is awaited": lambda s: s["cloud"].update(
        healthcheck={"disable": True}
    ),
    "an image without a version": lambda s: s["prometheus"].update(image="prom/prometheus"),
    "a service renamed under Prometheus": lambda s: s.update(edge=s.pop("device")),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_in_compose_is_found(name: str) -> None:
    project = Project.read()
    project.compose = copy.deepcopy(project.compose)  # YAML anchors share their values
    MUTATIONS[name](project.compose["services"])
    assert project.problems() != []


@pytest.mark.parametrize("target", ["cloud:7443", "cloud:9465", "device:9464", "nobody:9464"])
def test_a_wrong_scrape_target_is_found(target: str) -> None:
    project = Project.read()
    project.prometheus["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    assert project.problems() != []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("COPY proto/driftline_proto", "COPY proto/driftline_protocol"),
        ("EXTRA=cloud", "EXTRA=clouds"),
        ("USER driftline", "USER root"),
        ("EXPOSE 7443 9464", "EXPOSE 7443"),
        ('"cloud", "status"', '"cloud", "state"'),
        ('"--config", "/etc/driftline/cloud.toml"', '"--config", "/etc/cloud.toml"'),
        ('"--config", "/etc/driftline/cloud.toml"', '"--configuration", "x"'),
        ("HEALTHCHECK", "ONBUILD"),
        ("FROM python:3.11-slim", "FROM python:3"),
    ],
)
def test_a_mistake_in_a_dockerfile_is_found(old: str, new: str) -> None:
    project = Project.read()
    name = "cloud/Dockerfile"
    good = project.dockerfiles[name]
    text = good.path.read_text()
    assert old in text
    steps = [
        (word.replace(old, new), rest)
        if word == old
        else tuple(f"{word} {rest}".replace(old, new).split(" ", 1))
        for word, rest in good.steps
    ]
    project.dockerfiles[name] = Dockerfile(path=good.path, steps=steps)
    assert project.problems() != []


@pytest.mark.parametrize(
    "command", [["bash"], ["driftline"], ["driftline", "device", "run", "--x"]]
)
def test_a_wrong_command_is_found(command: list[str]) -> None:
    assert list(command_problems(command))
