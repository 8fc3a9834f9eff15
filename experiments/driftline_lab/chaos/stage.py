"""A cloud, its authority, its devices and their links in one folder, set up as a user would."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftline_device.link.identity import enrol_by
from driftline_lab.chaos.cheap.pair import write_pair
from driftline_lab.chaos.disk.control import Control
from driftline_lab.chaos.disk.shim import build_shim, shim_environment
from driftline_lab.chaos.programs.process import Program, children_of
from driftline_lab.chaos.proxy import Proxy
from driftline_lab.chaos.witness import Witness
from driftline_lab.demo.processes import command
from driftline_shared.errors import DriftlineError
from driftline_shared.host.loopback import free_port
from driftline_shared.trust.invitation import read_invitation

READY_S = 300.0
ROUND_SAMPLES = 24
QUIET = "quiet"
"""A file of this name in the folder of orders has devices ask nothing that is worth sending."""

_PACE = 2.0
_COMMAND_S = 300.0

_CLOUD = """
state = "{state}"
pair = "{pair}"
listen = "127.0.0.1:{port}"
drain_s = 5.0
[rounds]
poll_s = 0.2
[rounds.trigger]
round_samples = {round_samples}
failed_cooldown_s = 1.0
[rounds.retry]
max_starts = 1000
max_errors = 1000
backoff_s = 0.2
max_backoff_s = 2.0
[work]
restart_s = 0.2
most_restart_s = 1.0
[dwc]
max_fp16_share = 0.5
[quota]
day_samples = 0
day_bytes = 0
[rates]
report_per_s = 0
fetch_per_s = 0
enrol_per_s = 0
[retention]
samples_days = 0
[sampling]
gate_quantile = 0.5
max_sample_share = 1.0
audit_rate = 0.0
token_scorer = "magnitude"
repeat_distance = 0.0
"""

_DEVICE = """
state = "{state}"
pair = "{pair}"
cloud = "{cloud}"
pace = {pace}
poll_s = 0.5
status_s = 0.5
drain_s = 30.0
batch_size = 1
show_answers = false
seed = {seed}
[sampling]
gate_quantile = 0.5
max_sample_share = 1.0
audit_rate = 0.0
token_scorer = "magnitude"
repeat_distance = 0.0
[history]
max_answers = 200
"""


@dataclass(kw_only=True)
class Device:
    """One device: its program, its link, and what it told."""

    name: str
    state: Path
    program: Program
    proxy: Proxy
    witness: Witness


class Stage:
    """What a run plays on. `folder` is new and empty."""

    def __init__(self, folder: Path, *, devices: int, seed: int) -> None:
        self.folder = folder.resolve()
        for name in ("control", "logs", "orders", "witness"):
            (self.folder / name).mkdir(parents=True)
        self.orders = self.folder / "orders"
        self.shim = build_shim(self.folder)
        self.pair = write_pair(self.folder / "pair")
        self.cloud_state = self.folder / "cloud"
        self._port = free_port()
        self.cloud = self._cloud()
        self.devices = [self._device(number, seed) for number in range(devices)]

    @property
    def address(self) -> str:
        """Where the cloud itself listens."""
        return f"127.0.0.1:{self._port}"

    @property
    def programs(self) -> list[Program]:
        """All of them, the cloud first."""
        return [self.cloud, *(device.program for device in self.devices)]

    def set_up(self) -> None:
        """Authority, cloud, links, enrolment of each device, devices: what the commands do."""
        self.run_command("cloud", "init", "--state", str(self.cloud_state))
        self.cloud.start()
        self.wait_for_cloud()
        text = self.run_command(
            "cloud", "enrol-token", "--state", str(self.cloud_state),
            "--uses", str(len(self.devices)),
        )  # fmt: skip
        for device in self.devices:
            device.proxy.start()
            invitation = read_invitation(text)
            enrol_by(invitation, device.state, label=device.name, timeout_s=READY_S)
        for device in self.devices:
            device.program.start()

    def wait_for_cloud(self) -> None:
        """Until the cloud listens; DriftlineError where it does not come up."""
        deadline_s = time.monotonic() + READY_S
        while not (self.cloud_state / "port").is_file():
            if not self.cloud.runs or time.monotonic() > deadline_s:
                raise DriftlineError(f"the cloud did not come up:\n{self.cloud.tail()}")
            time.sleep(0.05)

    def tear_down(self) -> None:
        """Nothing that this stage started runs any more."""
        workers = [pid for pid in children_of(self.cloud.pid) if self.cloud.runs]
        for program in self.programs:
            program.wanted = False
            program.kill()
        for pid in workers:
            _wait_gone(pid)
        for device in self.devices:
            device.proxy.stop()

    def run_command(self, *words: str) -> str:
        """What `driftline WORDS` printed."""
        done = subprocess.run(
            command(*words), capture_output=True, text=True, timeout=_COMMAND_S, check=False
        )
        if done.returncode:
            raise DriftlineError(f"driftline {' '.join(words[:2])}: {done.stderr.strip()[-800:]}")
        return done.stdout.strip()

    def _cloud(self) -> Program:
        config = self._write(
            "cloud.toml",
            _CLOUD,
            {
                "state": str(self.cloud_state),
                "pair": str(self.pair),
                "port": str(self._port),
                "round_samples": str(ROUND_SAMPLES),
            },
        )
        words = ["-m", "driftline_lab.chaos.programs.cloud", str(config), str(self.orders)]
        program = self._program("cloud", words, root=self.cloud_state)
        program.control.spare_sqlite()
        return program

    def _device(self, number: int, seed: int) -> Device:
        name = f"device-{number}"
        state, own_seed = self.folder / name, seed * 1_000 + number
        proxy = Proxy(self._port, own_seed)
        values = {
            "state": str(state), "pair": str(self.pair), "cloud": f"127.0.0.1:{proxy.port}",
            "pace": str(_PACE), "seed": str(own_seed),
        }  # fmt: skip
        config = self._write(f"{name}.toml", _DEVICE, values)
        witness = self.folder / "witness" / f"{name}.log"
        words = [
            "-m", "driftline_lab.chaos.programs.device", str(config), str(witness), str(own_seed),
            str(self.orders / QUIET),
        ]  # fmt: skip
        return Device(
            name=name,
            state=state,
            program=self._program(name, words, root=state),
            proxy=proxy,
            witness=Witness(path=witness),
        )

    def _program(self, name: str, words: list[str], *, root: Path) -> Program:
        control = self.folder / "control" / name
        Control(control)
        extra = shim_environment(self.shim, control=control, root=root)
        log = self.folder / "logs" / f"{name}.log"
        return Program(name, words, extra=extra, log=log, control=control)

    def _write(self, name: str, text: str, values: Mapping[str, str]) -> Path:
        path = self.folder / name
        path.write_text(text.format(**values), encoding="utf-8")
        return path


def _wait_gone(pid: int) -> None:
    """A worker ends by itself when who started it is gone; SIGKILL where it does not."""
    deadline_s = time.monotonic() + 10.0
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, 9)
