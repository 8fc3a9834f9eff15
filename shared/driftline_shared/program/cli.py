"""The `driftline` command: its sub-commands are found through the entry-point group
`driftline.commands`.

Every command ends alike: 0 well; 1 a fault of the outside, told in a sentence; 2 the command line
or a setting is wrong; 130 Ctrl-C. The sentence and its fix go to standard error, under `--json` as
one line with one object: `error`, `fix`, `reason`. Standard output has results alone.
"""

from __future__ import annotations

import errno
import itertools
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from driftline_shared.errors import ConfigError, DriftlineError, Reason
from driftline_shared.program.extras import EXTRAS as EXTRAS
from driftline_shared.program.extras import GROUP as GROUP
from driftline_shared.program.extras import missing_of, needs_extra
from driftline_shared.program.process import run_in_utf8, set_up_process

if TYPE_CHECKING:
    import typer

DISK_ERRORS = {
    errno.ENOSPC: "make room there, remove what was begun, and run it again",
    errno.EDQUOT: "make room in your quota, remove what was begun, and run it again",
    errno.EROFS: "name a folder of a disk that can be written",
    errno.EACCES: "name a place that you may read and write, or change its owner",
}
"""What any command may meet on any disk, and what to do: no fault of the program."""

EXIT_FAILED = 1
"""Something of the outside was wrong: data, link, pair."""
EXIT_USAGE = 2
"""A flag or a setting was wrong."""
EXIT_STOPPED = 130
"""Ctrl-C, as shells count it: 128 and the signal's number."""


def build() -> typer.Typer:
    """The command, with every sub-command that this install can run."""
    from driftline_shared.program.commands import build_commands

    return build_commands()


def main() -> None:
    """Run the command; an error of ours is a cause, a fix and an exit code, no traceback. A package
    that this install lacks is such an error, too.
    """
    run_in_utf8()
    set_up_process()
    name = next(iter(sys.argv[1:]), "")
    try:
        with needs_extra(f"driftline {name}", EXTRAS.get(name, name)):
            if lacking := missing_of(name):
                raise ModuleNotFoundError(f"No module named {lacking!r}", name=lacking)
            if wants_json(sys.argv[1:]):
                _run_for_machines(build())
            else:
                build()()
    except KeyboardInterrupt:
        _stopped()
    except SystemExit as ended:
        # Typer's own end of a command that Ctrl-C has reached; one that takes it for a wish to
        # end well (a cloud, a device) ends with 0.
        if ended.code == EXIT_STOPPED:
            _stopped()
        raise
    except DriftlineError as error:
        _fail(str(error), error.fix, error.reason, isinstance(error, ConfigError))
    except OSError as error:
        if (fix := DISK_ERRORS.get(error.errno or 0)) is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror}{where}", fix, Reason.DATA_INVALID, False)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command was asked for JSON."""
    return "--json" in itertools.takewhile(lambda word: word != "--", arguments)


def _run_for_machines(app: typer.Typer) -> None:
    """Run the command; a wrong flag is told as any other error is."""
    import typer
    from typer.main import get_command

    # Some releases of typer have a click of their own; whose it is, is seen by the family.
    of_click: Any = typer.BadParameter.__mro__[2]
    try:
        code = get_command(app).main(standalone_mode=False)
    except typer.Abort:
        _stopped()
    except of_click as error:
        context = getattr(error, "ctx", None)
        fix = f"`{context.command_path if context else 'driftline'} --help` shows what there is."
        is_usage = error.exit_code == EXIT_USAGE
        _fail(error.format_message(), fix, Reason.CONFIG_INVALID, is_usage)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(cause: str, fix: str, reason: Reason, is_usage: bool) -> NoReturn:
    if wants_json(sys.argv[1:]):
        _say(json.dumps({"error": cause, "fix": fix, "reason": str(reason)}))
    else:
        _say(f"error: {cause}\n  fix: {fix}  [{reason}]")
    sys.exit(EXIT_USAGE if is_usage else EXIT_FAILED)


def _stopped() -> NoReturn:
    _say("stopped: Ctrl-C (SIGINT)")
    sys.exit(EXIT_STOPPED)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
