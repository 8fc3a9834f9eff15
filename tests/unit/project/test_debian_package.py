"""The Debian package: what it holds, and that it installs, runs and goes in a root of its own."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from driftline_device.config import load_config

ROOT = Path(__file__).resolve().parents[3]
DEB = ROOT / "device" / "deploy" / "deb"

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package without the wheels of others: those are fetched, and no test fetches."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here")
    folder = tmp_path_factory.mktemp("deb")
    return Path(run(DEB / "build.sh", sys.executable, folder, env={"OWN": "1"}).strip())


def test_it_holds_program_unit_and_configuration(package: Path) -> None:
    listed = run("dpkg-deb", "--contents", package)
    for path in (
        "./lib/systemd/system/driftline-device.service",
        "./etc/driftline/device.toml",
        "./usr/bin/driftline -> ../../opt/driftline/bin/driftline",
        "./usr/share/driftline/wheels/driftline-",
        "./usr/share/doc/driftline-device/copyright",
    ):
        assert path in listed
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())
    fields = run("dpkg-deb", "--field", package)
    minor = sys.version_info.minor
    assert f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1}), python3-venv" in fields


def test_its_configuration_is_one_that_a_device_reads() -> None:
    settings = load_config(DEB / "device.toml", {}, {})
    assert (settings.pair, settings.cloud) == ("/etc/driftline/export", "")
    assert settings.api.port == 8000


def test_it_installs_runs_and_goes(package: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("installing takes root and useradd")
    root, admin = tmp_path / "root", tmp_path / "root" / "var" / "lib" / "dpkg"
    for folder in (root / "etc", admin / "info", admin / "updates"):
        folder.mkdir(parents=True)
    (admin / "status").touch()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (root / "etc" / name).touch()
    dpkg = [
        "dpkg", f"--instdir={root}", f"--admindir={admin}", "--force-script-chrootless",
        "--force-depends", "--force-confold", f"--log={tmp_path / 'log'}",
    ]  # fmt: skip
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    told = run(*dpkg, "--install", package, env={"PATH": path})
    assert "systemctl enable --now driftline-device" in told
    assert (root / "etc" / "passwd").read_text().startswith("driftline:")
    program = root / "opt" / "driftline" / "bin" / "driftline"
    others = {"PYTHONPATH": os.pathsep.join(site.getsitepackages())}
    assert run(program, "--version", env=others).startswith("driftline ")
    (root / "etc" / "driftline" / "device.toml").write_text('pair = "tiny"\n')
    assert run(*dpkg, "--install", package, env={"PATH": path})
    assert (root / "etc" / "driftline" / "device.toml").read_text() == 'pair = "tiny"\n'
    run(*dpkg, "--remove", "driftline-device", env={"PATH": path})
    assert not program.exists()
    assert (root / "etc" / "driftline" / "device.toml").is_file()
    run(*dpkg, "--purge", "driftline-device", env={"PATH": path})
    assert not (root / "etc" / "driftline" / "device.toml").exists()
    assert "driftline" not in (root / "etc" / "passwd").read_text()
