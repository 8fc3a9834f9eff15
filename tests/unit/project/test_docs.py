"""What the documents name exists, and what users must find is named."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from driftline_cloud.config import CloudConfig
from driftline_cloud.config import load_config as load_cloud_config
from driftline_cloud.rounds.round import RoundState
from driftline_cloud.service.metrics import CloudMetrics
from driftline_cloud.service.status_codes import STATUS_CODES
from driftline_device.api.traffic.metrics import RequestMetrics
from driftline_device.config import DeviceConfig
from driftline_device.config import load_config as load_device_config
from driftline_device.show.metrics import COUNTERS, GAUGES
from driftline_device.updates.phases import Phase
from driftline_lab.drift.table import DRIFTS
from driftline_proto.v1 import control_pb2, downlink_pb2, uplink_pb2
from driftline_shared.errors import Reason
from driftline_shared.program.section import entries
from tests.unit.project.command_line import driftline_command, words

ROOT = Path(__file__).resolve().parents[3]
DOCS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("shared/driftline_pairs/**/README.md"),
    ]
)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
CONFIGS = {
    "cloud": (CloudConfig, load_cloud_config(None, {}, {}).model_dump()),
    "device": (DeviceConfig, load_device_config(None, {}, {}).model_dump()),
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_of(text: str) -> Iterator[str]:
    """Inline code and the lines of code blocks, fenced or indented."""
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()
        else:
            yield from re.findall(r"`([^`]+)`", line)


def commands_of(text: str) -> Iterator[list[str]]:
    """Every `driftline ...` command line, without comments; `…` ends what is spelled out."""
    for code in code_of(text):
        line = re.split(r"\s+#|\s*…|\s*\.\.\.", code.removeprefix("$ "))[0]
        if re.match(r"driftline [a-z]", line):
            yield words(line)


def check_command(command: list[str]) -> None:
    """Raise unless the real command line takes `command`; a group alone is fine, too."""
    program, name, *rest = driftline_command(), *command
    while hasattr(program, "commands") and rest:
        if rest[0].startswith("-"):
            break
        if rest[0] not in program.commands:
            raise ValueError(f"{name} has no sub-command {rest[0]}")
        program, name, rest = program.commands[rest[0]], rest[0], rest[1:]
    if rest:
        # resilient: an argument that a sentence leaves out is no mistake, an unknown flag is.
        known = {flag for param in program.params for flag in (*param.opts, *param.secondary_opts)}
        known.add("--help")
        unknown = [word for word in rest if word.startswith("--") and word not in known]
        if unknown:
            raise ValueError(f"{' '.join(command)}: no flag {unknown}")


def problems(path: Path) -> list[str]:
    """What the document at `path` names and the project lacks."""
    text = path.read_text()
    return [*link_problems(path, text), *command_problems(text), *name_problems(text)]


def link_problems(path: Path, text: str) -> Iterator[str]:
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        if not file.exists():
            yield f"link to {target}"
        elif anchor and anchor not in anchors(file.read_text()):
            yield f"link to {target}: no such heading"


def anchors(text: str) -> set[str]:
    """Headings as a forge names them."""
    heads = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def command_problems(text: str) -> Iterator[str]:
    for command in commands_of(text):
        try:
            check_command(command)
        except ValueError as error:
            yield str(error)
    makefile = (ROOT / "Makefile").read_text()
    for code in code_of(text):
        for word in re.findall(r"^make ([a-z-]+)", code):
            if not re.search(rf"^{word}:", makefile, flags=re.MULTILINE):
                yield f"make {word}"


def name_problems(text: str) -> Iterator[str]:
    written = set(re.findall(r"`(\w+)\.py`", text))  # files that the reader is to write
    for code in code_of(text):
        for module in re.findall(r"\bdriftline_(?:shared|cloud|device|lab|proto)[.\w]*", code):
            if module.rpartition(".")[2] in written:
                continue
            if not module_exists(module.rstrip(".")):
                yield f"module {module}"
        for extra in re.findall(r"driftline\[([\w,-]+)\]", code):
            for one in set(extra.split(",")) - set(EXTRAS):
                yield f"extra {one}"
        for side, name in re.findall(r"\bDRIFTLINE_(CLOUD|DEVICE)_(\w+)", code):
            if not key_exists(side.lower(), name.lower().replace("__", ".")):
                yield f"environment variable of {side}: {name}"


def module_exists(name: str) -> bool:
    """`name` is a module, or something a module holds; metrics are checked elsewhere."""
    if name.replace("_total", "") in metric_names():
        return True
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            spec = find_spec(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        if spec is None:
            continue
        if end == len(parts):
            return True
        source = Path(spec.origin or "").read_text() if spec.origin else ""
        return end == len(parts) - 1 and re.search(rf"\b{parts[end]}\b", source) is not None
    return False


def key_exists(side: str, key: str) -> bool:
    """Whether `key` (dotted) is a setting of that side; below a free table everything is."""
    value: Any = CONFIGS[side][1]
    for part in key.split("."):
        if not isinstance(value, Mapping):
            return False
        if part not in value:
            return value == {} and "compressor_options." in key
        value = value[part]
    return True


def _api_metrics() -> CollectorRegistry:
    registry = CollectorRegistry()
    RequestMetrics(registry, [])
    return registry


def metric_names() -> set[str]:
    cloud = {metric.name for metric in CloudMetrics().registry.collect()}
    of_api = {metric.name for metric in _api_metrics().collect()}
    return cloud | of_api | {f"driftline_device_{name}" for name in (*GAUGES, *COUNTERS)}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def table_column(text: str, column: int = 0) -> set[str]:
    """What stands in backticks at the start of a column of any table."""
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    cells = [row[column].strip() for row in rows if len(row) > column]
    return {match[1] for cell in cells if (match := re.match(r"`([^`]+)`", cell))}


@pytest.mark.parametrize("path", DOCS, ids=named)
def test_everything_named_exists(path: Path) -> None:
    assert problems(path) == []


@pytest.mark.parametrize(
    "text",
    [
        "see [there](nowhere.md)",
        "see [there](README.md#no-such-heading)",
        "`driftline device fly`",
        "    driftline demo --no-such-flag",
        "`make coffee`",
        "`driftline_shared.nothing`",
        "`driftline_cloud_nonsense`",
        "`pip install driftline[edge]`",
        "`DRIFTLINE_CLOUD_ROUNDS__SEEDS`",
    ],
)
def test_what_does_not_exist_is_found(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    (tmp_path / "README.md").write_text("# Driftline\n")
    assert problems(page) != []


def test_every_reason_is_in_the_table_with_its_status() -> None:
    text = read("docs/protocol.md").partition("## Error codes")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)`", text, flags=re.MULTILINE))
    assert rows == {str(reason): STATUS_CODES[reason].name for reason in Reason}


def test_every_service_and_message_is_in_the_protocol() -> None:
    text = read("docs/protocol.md")
    for file in (control_pb2, uplink_pb2, downlink_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            assert f"`{service.name}`" in text
            for method in service.methods:
                assert f"`{method.name}`" in text
        for message in file.DESCRIPTOR.message_types_by_name:
            assert f"`{message}`" in text, message


@pytest.mark.parametrize("side", CONFIGS)
def test_every_setting_says_what_it_means(side: str) -> None:
    # `make docs` makes the tables of docs/operations.md from these.
    assert [entry.key for entry in entries(CONFIGS[side][0]) if not entry.meaning] == []


def test_every_metric_is_in_operations_and_conversely() -> None:
    section = read("docs/operations.md").partition("## Metrics")[2].partition("\n## ")[0]
    found = {name.removesuffix("_total") for name in table_column(section)}
    assert found == metric_names()


def test_every_state_is_in_the_documents() -> None:
    operations, protocol = read("docs/operations.md"), read("docs/protocol.md")
    for state in RoundState:
        assert f"`{state}`" in operations, state
    for phase in Phase:
        assert f"`{phase}`" in protocol + operations, phase


def test_every_drift_is_in_the_documents() -> None:
    text = read("docs/models.md")
    assert [name for name in DRIFTS if f"`{name}`" not in text] == []


def test_decisions_are_numbered_in_a_row() -> None:
    names = sorted(path.name for path in (ROOT / "docs/adr").glob("*.md"))
    assert [name[:5] for name in names] == [f"{number:04d}-" for number in range(1, len(names) + 1)]
