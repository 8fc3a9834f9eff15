"""How the demo's two programs come to trust each other: by the commands that a user gives."""

from __future__ import annotations

import subprocess
from pathlib import Path

from driftline_cloud.config import CloudConfig
from driftline_cloud.trust.authority import FOLDER, OPERATOR
from driftline_lab.demo.processes import command
from driftline_shared.errors import DriftlineError
from driftline_shared.trust.credentials import Credentials, read_credentials

_COMMAND_S = 120.0


def init_cloud(cloud: CloudConfig) -> None:
    """`driftline cloud init`, unless the demo's cloud is to let in anybody."""
    if not cloud.trust.insecure:
        _run("cloud", "init", "--state", str(cloud.state))


def enrol_device(cloud: CloudConfig, device_state: Path) -> Credentials | None:
    """`driftline cloud enrol-token` and `driftline device enrol`; what an operator shows to the
    cloud.
    """
    if cloud.trust.insecure:
        return None
    invitation = _run("cloud", "enrol-token", "--state", str(cloud.state))
    _run("device", "enrol", invitation, "--state", str(device_state), "--label", "demo")
    return read_credentials(cloud.state / FOLDER / OPERATOR)


def _run(*arguments: str) -> str:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=_COMMAND_S, check=False
    )
    if done.returncode:
        raise DriftlineError(f"driftline {' '.join(arguments[:2])}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()
