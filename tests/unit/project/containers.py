"""What docker-compose.yml and the Dockerfiles name, checked against the project; no engine."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import typer
import yaml

from driftline_cloud.config import load_config as load_cloud_config
from driftline_device.config import load_config as load_device_config
from driftline_shared.program.cli import build

ROOT = Path(__file__).resolve().parents[3]
EXTRAS = frozenset(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)
# Images of others: the ports they listen on and the folders they read and write.
FOREIGN_PORTS = {"prom/prometheus": {9090}}
FOREIGN_PATHS = {"prom/prometheus": {"/etc/prometheus", "/prometheus"}}
# A Jetson's image holds what its release of JetPack needs: who builds it names it.
BASES = {"device/deploy/jetson.Dockerfile": "${BASE}"}
CONFIG_LOADERS = {"cloud": load_cloud_config, "device": load_device_config}


@dataclass(frozen=True, kw_only=True)
class Dockerfile:
    """The instructions of one Dockerfile, continuation lines joined."""

    path: Path
    steps: list[tuple[str, str]]

    @classmethod
    def read(cls, path: Path) -> Dockerfile:
        return cls.parse(path.read_text(), path)

    @classmethod
    def parse(cls, text: str, path: Path) -> Dockerfile:
        text = re.sub(r"\\\n\s*", " ", text)
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return cls(path=path, steps=[(w, rest) for w, _, rest in (x.partition(" ") for x in lines)])

    def all(self, word: str) -> list[str]:
        return [rest for step, rest in self.steps if step == word]

    def exec_form(self, word: str) -> list[str]:
        """The JSON array of the last `word`; HEALTHCHECK's options and CMD are skipped."""
        found = self.all(word)
        array = re.search(r"\[.*\]", found[-1]) if found else None
        return yaml.safe_load(array.group()) if array else []

    @property
    def ports(self) -> set[int]:
        return {int(port) for rest in self.all("EXPOSE") for port in rest.split()}

    @property
    def arguments(self) -> dict[str, str]:
        return {name: value for name, _, value in (a.partition("=") for a in self.all("ARG"))}

    @property
    def paths(self) -> set[str]:
        """Absolute paths the image holds: COPY targets and folders made by `install -d`."""
        copied = {rest.split()[-1] for rest in self.all("COPY")}
        made = {
            word
            for rest in self.all("RUN")
            for command in rest.split("&&")
            if command.strip().startswith("install -d")
            for word in command.split()
        }
        return {path for path in copied | made if path.startswith("/")}


@dataclass(kw_only=True)
class Project:
    """Compose file, Dockerfiles and Prometheus configuration; `mutate` them to see a check fail."""

    compose: dict[str, Any]
    prometheus: dict[str, Any]
    dockerfiles: dict[str, Dockerfile] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Project:
        return cls(
            compose=yaml.safe_load((ROOT / "docker-compose.yml").read_text()),
            prometheus=yaml.safe_load((ROOT / "cloud/deploy/prometheus.yml").read_text()),
            dockerfiles={
                name: Dockerfile.read(ROOT / name)
                for name in ("cloud/Dockerfile", "device/Dockerfile", *BASES)
            },
        )

    def problems(self) -> list[str]:
        """Everything named that is not there, one sentence each."""
        found = [text for file in self.dockerfiles.values() for text in dockerfile_problems(file)]
        for name, service in self.compose["services"].items():
            found += [f"{name}: {text}" for text in self.service_problems(name, service)]
        return found + [f"prometheus.yml: {text}" for text in self.target_problems()]

    def dockerfile_of(self, service: Mapping[str, Any]) -> Dockerfile | None:
        return self.dockerfiles.get(service.get("build", {}).get("dockerfile", ""))

    def ports_of(self, service: Mapping[str, Any]) -> set[int]:
        """Container ports: what the service's own configuration opens, or a foreign image's."""
        if "build" not in service:
            return FOREIGN_PORTS.get(service["image"].partition(":")[0], set())
        ports = set()
        for side, config in self.configs_of(service):
            ports.add(config.metrics.port)
            if side == "cloud":
                ports.add(int(config.listen.rpartition(":")[2]))
        return ports

    def configs_of(self, service: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """(side, loaded configuration) of every `--config` in the service's commands."""
        for command in self.commands_of(service):
            if command[:1] == ["driftline"] and "--config" in command:
                inside = command[command.index("--config") + 1]
                file = self.source_of(service, inside)
                if file is not None and command[1] in CONFIG_LOADERS:
                    yield command[1], CONFIG_LOADERS[command[1]](file, {}, {})

    def source_of(self, service: Mapping[str, Any], inside: str) -> Path | None:
        """The file of the checkout that lies at the container path `inside`."""
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if target == inside and source.startswith("./"):
                return ROOT / source
        image = self.dockerfile_of(service)
        for rest in image.all("COPY") if image else []:
            if rest.split()[-1] == inside:
                return ROOT / rest.split()[0]
        return None

    def commands_of(self, service: Mapping[str, Any]) -> list[list[str]]:
        """The program lines a service runs, shells taken apart, the image's defaults filled in."""
        image = self.dockerfile_of(service)
        entry = service.get("entrypoint") or (image.exec_form("ENTRYPOINT") if image else [])
        command = service.get("command") or (image.exec_form("CMD") if image else [])
        if list(entry) == ["sh", "-c"]:
            return [words(part) for part in re.split(r"&&|\|\||;", command[0])]
        return [[*entry, *(str(word) for word in command)]] if entry else []

    def service_problems(self, name: str, service: Mapping[str, Any]) -> Iterator[str]:
        yield from self.build_problems(service)
        yield from self.volume_problems(service)
        yield from self.wiring_problems(service)
        commands = self.commands_of(service)
        probe = service.get("healthcheck", {}).get("test", [])
        for command in [*commands, list(probe[1:])] if probe else commands:
            yield from command_problems(command)
            yield from self.argument_problems(name, service, command)
        for side, config in self.configs_of(service):
            if side == "device" and config.cloud:
                yield from self.address_problems(name, config.cloud)

    def build_problems(self, service: Mapping[str, Any]) -> Iterator[str]:
        build_of = service.get("build")
        if build_of is None:
            if ":" not in service["image"] or service["image"].endswith(":latest"):
                yield f"image {service['image']} has no version"
            return
        image = self.dockerfile_of(service)
        if not (ROOT / build_of["context"]).is_dir() or image is None:
            yield f"build {build_of['context']} {build_of.get('dockerfile')} does not exist"
            return
        for key, value in build_of.get("args", {}).items():
            if key not in image.arguments:
                yield f"{image.path.name} has no ARG {key}"
            if key == "EXTRA" and value not in EXTRAS:
                yield f"there is no extra {value!r}"

    def volume_problems(self, service: Mapping[str, Any]) -> Iterator[str]:
        image = self.dockerfile_of(service)
        known = (
            image.paths if image else FOREIGN_PATHS.get(service["image"].partition(":")[0], set())
        )
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                if not (ROOT / source).exists():
                    yield f"{source} does not exist"
                elif not volume.endswith(":ro"):
                    yield f"{source} of the checkout is mounted writable"
            elif source not in self.compose["volumes"]:
                yield f"volume {source} is not declared"
            # A named volume takes its owner from the image's folder: without one it is root's.
            folder_known = within(target, known) or volume.endswith(":ro")
            if not folder_known:
                yield f"the image has no {target}"

    def wiring_problems(self, service: Mapping[str, Any]) -> Iterator[str]:
        services = self.compose["services"]
        for network in service.get("networks", []):
            if network not in self.compose["networks"]:
                yield f"network {network} is not declared"
        for other, how in service.get("depends_on", {}).items():
            if other not in services:
                yield f"depends on {other}, which does not exist"
            elif how["condition"] == "service_healthy" and not self.has_probe(services[other]):
                yield f"waits for {other} to be healthy, which has no health check"
        for published in service.get("ports", []):
            host, _, inside = str(published).rpartition(":")
            if not host.startswith("127.0.0.1:"):
                yield f"port {published} is open beyond loopback"
            if int(inside) not in self.ports_of(service):
                yield f"port {inside} is published and nothing listens there"
        image = self.dockerfile_of(service)
        if image is not None and not self.ports_of(service) <= image.ports:
            yield f"EXPOSE of {image.path} lacks {self.ports_of(service) - image.ports}"

    def has_probe(self, service: Mapping[str, Any]) -> bool:
        own = service.get("healthcheck", {})
        image = self.dockerfile_of(service)
        return not own.get("disable") and bool(
            own.get("test") or (image and image.all("HEALTHCHECK"))
        )

    def argument_problems(
        self, name: str, service: Mapping[str, Any], command: list[str]
    ) -> Iterator[str]:
        """Paths and addresses in a command line: the container must have them."""
        image = self.dockerfile_of(service)
        known = image.paths if image else set()
        known |= {volume.split(":")[1] for volume in service.get("volumes", [])}
        for word in command:
            if word.startswith("/") and not within(word, known):
                yield f"nothing in the container is at {word}"
            address = word.partition("=")[2] if word.startswith("--") else word
            if re.fullmatch(r"[a-z][a-z0-9-]*:\d+", address):
                yield from self.address_problems(name, address)

    def address_problems(self, name: str, address: str) -> Iterator[str]:
        """`address` must be a service on a shared network that listens on that port."""
        host, _, port = address.rpartition(":")
        services = self.compose["services"]
        if host not in services:
            yield f"{address}: there is no service {host}"
            return
        if host != name and not set(services[host].get("networks", [])) & set(
            services[name].get("networks", [])
        ):
            yield f"{address}: {name} and {host} share no network"
        if int(port) not in self.ports_of(services[host]) | ray_ports(self, services[host]):
            yield f"{address}: {host} does not listen on {port}"

    def target_problems(self) -> Iterator[str]:
        scraped = set()
        for job in self.prometheus["scrape_configs"]:
            for target in (t for part in job["static_configs"] for t in part["targets"]):
                scraped.add(target.partition(":")[0])
                yield from self.address_problems("prometheus", target)
                host, _, port = target.rpartition(":")
                service = self.compose["services"].get(host, {"image": ""})
                if int(port) not in {c.metrics.port for _, c in self.configs_of(service)}:
                    yield f"{target} is not the metrics port of {host}"
        for wanted in {"cloud", "device"} - scraped:
            yield f"{wanted} is not scraped"


def ray_ports(project: Project, service: Mapping[str, Any]) -> set[int]:
    """The port of a Ray head that runs in the service."""
    return {
        int(word.partition("=")[2])
        for command in project.commands_of(service)
        if command[:2] == ["ray", "start"] and "--head" in command
        for word in command
        if word.startswith("--port=")
    }


def dockerfile_problems(file: Dockerfile) -> Iterator[str]:
    """What one Dockerfile names that is not there, and what it must not do."""
    name = file.path.relative_to(ROOT)
    if file.all("FROM") != [BASES.get(str(name), "python:3.11-slim")]:
        yield f"{name}: the base image is {file.all('FROM')}"
    for rest in file.all("COPY"):
        *sources, target = rest.split()
        for source in sources:
            if not (ROOT / source).exists():
                yield f"{name}: COPY {source} does not exist"
            elif (ROOT / source).is_dir() and not target.endswith(PurePosixPath(source).name):
                yield f"{name}: COPY {source} loses its folder"
    for extra in re.findall(r'"\.\[([^\]]+)\]"', " ".join(file.all("RUN"))):
        resolved = re.sub(r"\$\{(\w+)\}", lambda m: file.arguments.get(m.group(1), ""), extra)
        if resolved not in EXTRAS:
            yield f"{name}: there is no extra {resolved!r}"
    users = [index for index, (word, _) in enumerate(file.steps) if word == "USER"]
    starts = [index for index, (word, _) in enumerate(file.steps) if word == "ENTRYPOINT"]
    if not users or not starts or users[-1] > starts[-1] or file.all("USER")[-1] == "root":
        yield f"{name}: runs as root"
    if not file.all("HEALTHCHECK") or not file.all("VOLUME"):
        yield f"{name}: HEALTHCHECK or VOLUME is missing"
    if not set(file.all("VOLUME")) <= file.paths:
        yield f"{name}: VOLUME is not a folder the user owns"
    start = [*file.exec_form("ENTRYPOINT"), *file.exec_form("CMD")]
    for command in (start, file.exec_form("HEALTHCHECK")):
        for problem in command_problems(command):
            yield f"{name}: {problem}"
        for word in command:
            if word.startswith("/") and not within(word, file.paths):
                yield f"{name}: nothing in the image is at {word}"


def command_problems(command: list[str]) -> Iterator[str]:
    """Why the real command-line parsers refuse `command`."""
    if command[:1] not in (["driftline"], ["ray"]):
        yield f"{command} is neither a driftline nor a ray command"
        return
    try:
        parse(driftline_command() if command[0] == "driftline" else ray_command(), command)
    except Exception as error:
        yield f"{shlex.join(command)}: {error or type(error).__name__}"


def parse(program: Any, command: list[str]) -> None:
    """Let `program` (a click group) parse `command` as it would at a prompt; nothing is run."""
    name, *rest = command
    while hasattr(program, "commands"):
        if not rest or rest[0] not in program.commands:
            raise ValueError(f"{name} has no sub-command {rest[:1]}")
        program, name, rest = program.commands[rest[0]], rest[0], rest[1:]
    program.make_context(name, list(rest))


@cache
def driftline_command() -> Any:
    return typer.main.get_command(build())


@cache
def ray_command() -> Any:
    from ray.scripts.scripts import cli

    return cli


def words(text: str) -> list[str]:
    """Shell words of one simple command, `exec` taken off."""
    found = shlex.split(text)
    return found[1:] if found[:1] == ["exec"] else found


def within(path: str, known: set[str]) -> bool:
    """Whether `path` is one of `known` or lies below one."""
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in known)
