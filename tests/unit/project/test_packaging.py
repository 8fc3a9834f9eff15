"""One wheel holds the five packages, one the weights; extras pull what they say, no more."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from driftline_shared.program.cli import GROUP

ROOT = Path(__file__).resolve().parents[3]
ROOTS = ("proto", "shared", "cloud", "device", "experiments")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAIRS = ROOT / "shared/driftline_pairs"
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
HEAVY = {"torch", "ray", "transformers", "peft", "bitsandbytes", "accelerate"}


def run_python(code: str, **env: str) -> str:
    """What `code` prints in a fresh interpreter."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def build_wheel(source: Path, folder: Path) -> zipfile.ZipFile:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=source,
        capture_output=True,
        timeout=120,
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build_wheel(PAIRS, tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("root", ROOTS)
def test_a_source_root_is_no_package(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists()
    found = {path.parent for path in (ROOT / root).glob("*/__init__.py")}
    packages = [path.name for path in found - {PAIRS}]
    assert len(packages) == 1
    assert packages[0].startswith("driftline_")
    assert f"{root}/{packages[0]}" in PACKAGES
    assert (ROOT / root / "README.md").exists()


def test_the_wheel_holds_five_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    named = {Path(package).name for package in PACKAGES}
    assert {top for top in tops if not top.endswith(".dist-info")} == named
    for package in named:
        assert f"{package}/py.typed" in wheel.namelist()
    assert not [name for name in wheel.namelist() if "test" in Path(name).name.split("_")]


def test_the_wheel_holds_every_source_file(wheel: zipfile.ZipFile) -> None:
    for package in PACKAGES:
        root = (ROOT / package).parent
        here = {str(path.relative_to(root)) for path in (ROOT / package).rglob("*.py")}
        name = Path(package).name
        there = {entry for entry in wheel.namelist() if entry.startswith(f"{name}/")}
        assert here
        assert here <= there


def test_the_wheel_holds_no_weights_and_says_its_licence(wheel: zipfile.ZipFile) -> None:
    assert not [name for name in wheel.namelist() if name.endswith(".safetensors")]
    data = [one for one in wheel.infolist() if not one.filename.endswith((".py", ".pyi"))]
    assert sum(entry.file_size for entry in data) <= 2**20, "what is no code"
    licences = [name for name in wheel.namelist() if ".dist-info/licenses/" in name]
    assert {Path(name).name for name in licences} == {"LICENSE", "NOTICE"}


def test_the_other_wheel_holds_the_weights_and_their_notice(weights: zipfile.ZipFile) -> None:
    names = {name for name in weights.namelist() if ".dist-info/" not in name}
    here = {
        f"driftline_pairs/{path.relative_to(PAIRS)}"
        for folder in ("boards", "tiny", "smol", "tiny_video")
        for path in (PAIRS / folder).rglob("*")
        if path.is_file()
    }
    beside = {f"driftline_pairs/{name}" for name in ("__init__.py", "LICENSE", "NOTICE")}
    assert names == here | beside
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    project = tomllib.loads((PAIRS / "pyproject.toml").read_text())["project"]
    assert project["version"] == PROJECT["project"]["version"]


def test_a_pair_loads_from_the_unpacked_wheels(
    wheel: zipfile.ZipFile, weights: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path / "code")
    weights.extractall(tmp_path / "data")
    code = (
        "import driftline_shared, sys\n"
        "from driftline_shared.pair.pair import load_pair\n"
        "pair = load_pair('tiny')\n"
        "print(driftline_shared.__file__, pair.dir, 'torch' in sys.modules, sep='\\n')"
    )
    path = os.pathsep.join(str(tmp_path / name) for name in ("code", "data"))
    package, pair, has_torch = run_python(code, PYTHONPATH=path).splitlines()
    assert package.startswith(str(tmp_path / "code"))
    assert pair.startswith(str(tmp_path / "data"))
    assert has_torch == "False"


def test_entry_points_resolve() -> None:
    entries = metadata.entry_points(group=GROUP)
    assert {entry.name for entry in entries} == {"cloud", "demo", "device", "lab", "models"}
    for entry in entries:
        assert entry.load() is not None
    (script,) = metadata.entry_points(group="console_scripts", name="driftline")
    assert callable(script.load())


def requirements(extra: str) -> set[str]:
    """Every distribution that `pip install driftline[extra]` needs, all the way down."""
    extras = PROJECT["project"]["optional-dependencies"]
    seen: set[tuple[str, str]] = set()
    left = [Requirement(text) for text in PROJECT["project"]["dependencies"] + extras[extra]]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        for part in {"", *wanted.extras}:
            if (name, part) in seen:
                continue
            seen.add((name, part))
            if name == "driftline":
                left += [Requirement(text) for text in extras.get(part, [])]
                continue
            for text in metadata.requires(name) or []:
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": part}):
                    left.append(needed)
    return {name for name, _ in seen}


def test_the_device_extra_is_light() -> None:
    assert not requirements("device") & HEAVY


def test_the_extras_that_run_models_are_not() -> None:
    assert {"torch", "transformers"} <= requirements("device-torch")
    assert "ray" not in requirements("device-torch")
    assert {"torch", "transformers", "ray"} <= requirements("cloud")


def test_light_parts_import_without_the_heavy_ones() -> None:
    code = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
import driftline_shared.program.cli, driftline_shared.wire, driftline_shared.pair.pair
import driftline_device.cli, driftline_device.daemon.daemon
print("fine")
"""
    assert run_python(code) == "fine"


def test_imports_open_no_heavy_package() -> None:
    code = (
        "import sys, driftline_device.cli, driftline_cloud.cli\n"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    assert run_python(code) == "[]"
