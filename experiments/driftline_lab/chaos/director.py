"""Carries out a schedule: begins and ends each fault at its time, and keeps the programs alive."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from driftline_cloud.intake.database import Database
from driftline_cloud.lines.pairs import line_of
from driftline_cloud.trust.authority import read_authority
from driftline_cloud.trust.issuer import LocalIssuer, Role
from driftline_cloud.trust.members import Members
from driftline_lab.chaos.cheap.workers import HARM
from driftline_lab.chaos.disk.control import Death, Mode
from driftline_lab.chaos.faults import CLOUD, Fault
from driftline_lab.chaos.journal import Journal
from driftline_lab.chaos.liveliness import Liveliness
from driftline_lab.chaos.programs.cloud import SAID
from driftline_lab.chaos.programs.process import Program, children_of, kill_pid
from driftline_lab.chaos.proxy import Weather
from driftline_lab.chaos.stage import Device, Stage
from driftline_lab.peers.poison import push_poison
from driftline_shared.errors import DriftlineError
from driftline_shared.pair.pair import load_pair
from driftline_shared.trust.credentials import (
    IDENTITY,
    KEY,
    Credentials,
    keep_credentials,
)
from driftline_shared.trust.keys import new_key, own_key

TICK_S = 0.1
AGAIN_S = 0.5
"""From the end of a program to its next start."""

ANSWER_S = 300.0
"""A device that runs must have answered anew within this time of a fault's end."""

_LOCK_S = 5.0
_DYING_S = 5.0
"""From a death that was ordered until the process is seen to be gone."""

_DISK_S = 30.0
"""Until a cloud that could not start for want of a disk has said so and is seen to have ended."""

_FAILURES = (OSError, sqlite3.Error, SQLAlchemyError, DriftlineError)
"""Of a fault itself: what it needed was broken by another one. It is noted and left out."""


@dataclass(kw_only=True)
class _Awaited:
    """Answers that are to come."""

    device: Device
    fault: Fault
    num_answers: int
    deadline_s: float


class Director:
    """Runs on one thread; what it found broken is in `broken`, what it did in `done`."""

    def __init__(self, stage: Stage, journal: Journal) -> None:
        self._stage, self._journal = stage, journal
        self._devices = {device.name: device for device in stage.devices}
        self._line = line_of(load_pair(stage.pair))
        self._ends: list[tuple[float, Fault, Callable[[], None]]] = []
        self._holders: dict[tuple[str, str], int] = {}
        self._awaited: list[_Awaited] = []
        self._restart_s: dict[str, float] = {}
        self._fired = {program.name: 0 for program in stage.programs}
        self._fired_s = dict.fromkeys(self._fired, float("-inf"))
        self._disk_s: dict[str, float] = {}
        self._threads: list[threading.Thread] = []
        self._liveliness = Liveliness(stage)
        self._cut_pending = False
        self._poisoner: Credentials | None = None
        self.broken: list[str] = []
        self.done: Counter[str] = Counter()
        self.num_deaths = 0
        self.up_s = 0.0

    def run(self, faults: Sequence[Fault], *, seconds: float) -> None:
        """For `seconds` from when all is up; then undo. Stops early where something is broken.

        The schedule's own time stands still while something is not up again.
        """
        while not self._liveliness.is_up() and not self.broken:
            self.tick()
            time.sleep(TICK_S)
        left, up_s = list(faults), 0.0
        looked_s = began_s = time.monotonic()
        while looked_s - began_s < seconds and not self.broken:
            while left and left[0].at_s <= up_s:
                self._begin(left.pop(0))
            self.tick()
            time.sleep(TICK_S)
            before_s, looked_s = looked_s, time.monotonic()
            if self._liveliness.is_up():
                up_s += looked_s - before_s
        self.up_s = up_s
        self.calm()

    def calm(self) -> None:
        """Undo what stands."""
        for program in self._stage.programs:
            program.control.calm()
        ends, self._ends = self._ends, []
        for _, fault, end in ends:
            self._undo(fault, end)  # what cannot be yet, `tick` does
        for device in self._stage.devices:
            device.proxy.set(Weather.FAIR)
        for thread in self._threads:
            thread.join()
        (self._stage.orders / HARM).unlink(missing_ok=True)
        self._journal.note("calm")

    def tick(self) -> None:
        """What is due: ends of faults, programs that are to come up again, answers awaited."""
        now_s = time.monotonic()
        due = [one for one in self._ends if one[0] <= now_s]
        self._ends = [one for one in self._ends if one[0] > now_s]
        for _, fault, end in due:
            self._undo(fault, end)
        for program in self._stage.programs:
            self._keep_alive(program, now_s)
        for device in self._stage.devices:
            device.witness.read()
        for one in self._awaited:
            if one.device.witness.num_answers == one.num_answers and now_s > one.deadline_s:
                self._break(
                    f"{one.device.name} gave no answer for {ANSWER_S:.0f} s after "
                    f"{one.fault.kind!r} on {one.fault.target}"
                )
        self._awaited = [
            one
            for one in self._awaited
            if one.device.witness.num_answers == one.num_answers and now_s <= one.deadline_s
        ]

    # -- programs ---------------------------------------------------------------------------------

    def _keep_alive(self, program: Program, now_s: float) -> None:
        fired = program.control.num_fired > self._fired[program.name]
        if fired:
            self._fired[program.name] = program.control.num_fired
            self._fired_s[program.name] = now_s
            self.num_deaths += 1
            self._journal.note(
                "died at a write", program=program.name, undone=program.control.num_undone
            )
            if program is self._stage.cloud and self._cut_pending:
                self._cut_pending = False  # power goes for both programs of a cloud
                program.kill()
        if not program.wanted or program.runs:
            return
        if program.name not in self._restart_s:
            self._restart_s[program.name] = now_s + AGAIN_S
            self._look_why(program, now_s - self._fired_s[program.name] < _DYING_S)
        elif self._restart_s[program.name] <= now_s:
            del self._restart_s[program.name]
            for left in self._root_of(program).glob(".chaos-*"):
                left.unlink(missing_ok=True)
            program.start()
            self._journal.note("started", program=program.name, pid=program.pid)

    def _look_why(self, program: Program, fired: bool) -> None:
        """A program that ended by itself has failed; but a cloud may end because its disk takes
        nothing: its service manager tries again.
        """
        expected = program.killed or fired
        self._journal.note("ended", program=program.name, code=program.code, expected=expected)
        if expected:
            return
        lately = time.monotonic() - self._disk_s.get(program.name, float("-inf")) < _DISK_S
        if program is self._stage.cloud and program.code == SAID and lately:
            return
        self._break(f"{program.name} ended by itself with {program.code}:\n{program.tail()}")

    def _root_of(self, program: Program) -> Path:
        if program is self._stage.cloud:
            return self._stage.cloud_state
        return self._devices[program.name].state

    def _break(self, what: str) -> None:
        self.broken.append(what)
        self._journal.note("broken", what=what)

    # -- faults -----------------------------------------------------------------------------------

    def _begin(self, fault: Fault) -> None:
        program = self._program(fault.target)
        self._journal.note("fault", **fault.row())
        try:
            end = self._do(fault, program)
        except _FAILURES as error:
            self._journal.note("fault did not take", kind=fault.kind, error=str(error))
            return
        self.done[f"{'cloud' if fault.target == CLOUD else 'device'}: {fault.kind}"] += 1
        if end is not None:
            self._ends.append((time.monotonic() + fault.for_s, fault, end))
        else:
            self._await_answers(fault)

    def _undo(self, fault: Fault, end: Callable[[], None]) -> None:
        try:
            end()
        except _FAILURES as error:  # another fault is in the way: once more, later
            self._journal.note("fault did not end", kind=fault.kind, error=str(error))
            self._ends.append((time.monotonic() + AGAIN_S, fault, end))
            return
        self._journal.note("fault ends", kind=fault.kind, target=fault.target)
        self._await_answers(fault)

    def _await_answers(self, fault: Fault) -> None:
        deadline_s = time.monotonic() + ANSWER_S
        for device in self._stage.devices:
            device.witness.read()
            self._awaited.append(
                _Awaited(
                    device=device,
                    fault=fault,
                    num_answers=device.witness.num_answers,
                    deadline_s=deadline_s,
                )
            )

    def _program(self, target: str) -> Program:
        return self._stage.cloud if target == CLOUD else self._devices[target].program

    def _hold(self, what: tuple[str, str], undo: Callable[[], None]) -> Callable[[], None]:
        """`undo`, unless a later fault of the same kind holds by then."""
        number = self._holders.get(what, 0) + 1
        self._holders[what] = number

        def end() -> None:
            if self._holders.get(what) == number:
                undo()
                self._holders.pop(what, None)

        return end

    def _do(self, fault: Fault, program: Program) -> Callable[[], None] | None:
        kind, details, control = fault.kind, fault.details, program.control
        if kind in ("kill", "kill serve"):
            program.kill()
        elif kind == "kill work":
            for pid in children_of(program.pid):
                kill_pid(pid)
        elif kind in ("kill at a write", "power cut"):
            how = Death[details["how"].upper()]
            self._cut_pending = fault.target == CLOUD and how >= Death.POWER_CUT
            control.kill_at(details["write"], how, details.get("seed", 0))
        elif kind in ("disk full", "disk read-only"):
            control.set_mode(Mode.FULL if kind == "disk full" else Mode.READ_ONLY)
            self._disk_s[program.name] = time.monotonic() + fault.for_s
            return self._hold((program.name, "disk"), lambda: control.set_mode(Mode.WELL))
        elif kind == "clock jumps":
            control.set_clock(details["by_s"])
            return self._hold((program.name, "clock"), lambda: control.set_clock(0.0))
        elif kind == "stopped":
            program.send(signal.SIGSTOP)
            return lambda: program.send(signal.SIGCONT)
        elif kind == "harmful update":
            (self._stage.orders / HARM).touch()
        elif kind == "database locked":
            return self._lock_database()
        elif kind == "poisoned samples":
            self._in_thread(lambda: self._poison(details["seed"]))
        else:
            return self._do_to_link(fault, self._devices[fault.target])
        return None

    def _do_to_link(self, fault: Fault, device: Device) -> Callable[[], None] | None:
        if fault.kind == "link":
            device.proxy.set(Weather(fault.details["weather"]))
            return self._hold((device.name, "link"), lambda: device.proxy.set(Weather.FAIR))
        if fault.kind == "certificate ends":
            device.program.kill()
            self._age(device, fault.for_s)
            return lambda: None
        if fault.kind == "revoked":
            identity = (device.state / "device_id").read_text(encoding="utf-8").strip()
            self._members(lambda members, now: members.revoke(identity, now_unix_s=now))
            return self._hold(
                (device.name, "revoked"),
                lambda: self._members(
                    lambda members, now: members.accept(identity, now_unix_s=now)
                ),
            )
        raise ValueError(f"no fault {fault.kind!r}")

    # -- what takes more than a word ------------------------------------------------------------

    def _in_thread(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _lock_database(self) -> Callable[[], None]:
        connection = sqlite3.connect(
            self._stage.cloud_state / "cloud.sqlite",
            timeout=_LOCK_S,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("BEGIN EXCLUSIVE")
        return connection.close

    def _age(self, device: Device, seconds: float) -> None:
        """Give a device that does not run a certificate that ends in some seconds."""
        authority = read_authority(self._stage.cloud_state)
        folder = device.state / IDENTITY
        public = own_key(folder / KEY).key.public_key()
        chain = LocalIssuer(authority, days=seconds / 86_400).issue(public, Role.DEVICE)
        address = f"127.0.0.1:{device.proxy.port}"
        keep_credentials(folder, chain=chain, roots=authority.roots_pem, address=address)

    def _members(self, act: Callable[[Members, int], object]) -> None:
        database = Database(f"sqlite:///{self._stage.cloud_state / 'cloud.sqlite'}")
        try:
            act(Members(database), int(time.time()))
        finally:
            database.close()

    def _poison(self, seed: int) -> None:
        """As a device that was let in; whatever of it is stored is broken."""
        with suppress(*_FAILURES):
            if self._poisoner is None:
                self._poisoner = self._newcomer()
            said = push_poison(self._stage.address, self._poisoner, self._line, seed=seed)
            self._journal.note(
                "poison", said=[f"{one.what}: {one.verdict or one.reason}" for one in said]
            )
            for one in said:
                if one.verdict in ("stored", "duplicate"):
                    self._break(f"the cloud stored {one.what}")

    def _newcomer(self) -> Credentials:
        authority = read_authority(self._stage.cloud_state)
        key = new_key()
        self._members(
            lambda members, now: members.add(
                key.identity, label="poison", role=Role.DEVICE, now_unix_s=now
            )
        )
        chain = LocalIssuer(authority).issue(key.key.public_key(), Role.DEVICE)
        return Credentials(key=key.key_pem, chain=chain, roots=authority.roots_pem)
