"""docker-compose.yml and Dockerfiles name only what exists; a wrong name is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftline_device.config import load_config
from driftline_device.sources.address import parse_address
from tests.unit.project.containers import (
    ROOT,
    Dockerfile,
    Project,
    command_problems,
    dockerfile_problems,
)

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


Mutation = Callable[[Services], object]

# A mistake, and a part of the sentence that must name it.
MUTATIONS: dict[str, Mutation] = {
    "No such option: --no-such": lambda s: s["device"]["command"].append("--no-such"),
    "no sub-command ['flow'": lambda s: s["stream"]["command"].__setitem__(1, "flow"),
    "No such option '--hed'": lambda s: s["ray-worker"]["command"].append("--hed"),
    "No such option: --wokers": lambda s: s["cloud"]["command"].append(
        s["cloud"]["command"].pop() + " --wokers ray"
    ),
    "is neither a driftline nor a ray": lambda s: s["ray-worker"].update(entrypoint=["rey"]),
    "no extra 'edge'": lambda s: s["device"]["build"]["args"].update(EXTRA="edge"),
    "no ARG EXTRAS": lambda s: s["cloud"]["build"]["args"].update(EXTRAS="cloud"),
    "build . x does not exist": lambda s: s["cloud"]["build"].update(dockerfile="x"),
    "./x.yml does not exist": lambda s: s["prometheus"]["volumes"].append("./x.yml:/y:ro"),
    "mounted writable": lambda s: s["device"]["volumes"].append("./docs:/var/lib/driftline/docs"),
    "volume x is not declared": lambda s: s["device"]["volumes"].append("x:/var/lib/driftline/x"),
    "the image has no /data": lambda s: s["device"]["volumes"].append("stream:/data"),
    "is at /srv/stream/stream.jsonl": lambda s: s["device"]["volumes"].pop(),
    "network lan is not declared": lambda s: s["device"]["networks"].append("lan"),
    "device and cloud share no network": lambda s: s["device"].update(networks=[]),
    "cloud does not listen on 7444": lambda s: s["device"]["command"].__setitem__(-1, "cloud:7444"),
    "there is no service clod": lambda s: s["device"]["command"].__setitem__(-1, "clod:7443"),
    "does not listen on 6379": lambda s: s["ray-head"]["command"].__setitem__(2, "--port=1"),
    "nothing listens there": lambda s: s["cloud"].update(ports=["127.0.0.1:1:7000"]),
    "open beyond loopback": lambda s: s["cloud"].update(ports=["7443:7443"]),
    "depends on redis": lambda s: s["device"]["depends_on"].update(redis={"condition": "x"}),
    "no health check": lambda s: s["cloud"].update(healthcheck={"disable": True}),
    "has no version": lambda s: s["prometheus"].update(image="prom/prometheus"),
    "there is no service device": lambda s: s.update(edge=s.pop("device")),
}


@pytest.mark.parametrize("sentence", MUTATIONS)
def test_a_mistake_in_compose_is_found_and_named(sentence: str) -> None:
    project = Project.read()
    MUTATIONS[sentence](project.compose["services"])
    assert sentence in "\n".join(project.problems())


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
    ("old", "new"),
    [
        ("${BASE}", "python:3.11-slim"),
        ("EXTRA=camera", "EXTRA=cameras"),
        ("device/deploy/jetson.toml", "device/deploy/orin.toml"),
        ('"device", "run"', '"device", "start"'),
        ("USER driftline", "USER root"),
        ("VOLUME /var/lib/driftline", "VOLUME /data"),
    ],
)
def test_a_mistake_in_the_recipe_for_a_jetson_is_found(old: str, new: str) -> None:
    path = ROOT / "device/deploy/jetson.Dockerfile"
    text = path.read_text()
    assert old in text
    spoilt = Dockerfile.parse(text.replace(old, new), path)
    assert list(dockerfile_problems(Dockerfile.read(path))) == []
    assert list(dockerfile_problems(spoilt)) != []


def test_the_recipe_for_a_jetson_replaces_onnxruntime_after_everything_else() -> None:
    runs = Dockerfile.read(ROOT / "device/deploy/jetson.Dockerfile").all("RUN")
    (swap,) = (number for number, rest in enumerate(runs) if "uninstall -y onnxruntime" in rest)
    assert swap > max(number for number, rest in enumerate(runs) if '".[' in rest)
    assert "--no-deps" in runs[swap]


@pytest.mark.parametrize(
    "file", sorted((ROOT / "device/deploy").glob("*.toml")), ids=lambda file: file.name
)
def test_deployed_settings_of_devices_load(file: Path) -> None:
    config = load_config(file, {}, {})
    assert str(config.state) == "/var/lib/driftline"
    for source in config.sources:
        parse_address(source)


@pytest.mark.parametrize(
    "command", [["bash"], ["driftline"], ["driftline", "device", "run", "--x"]]
)
def test_a_wrong_command_is_found(command: list[str]) -> None:
    assert list(command_problems(command))
