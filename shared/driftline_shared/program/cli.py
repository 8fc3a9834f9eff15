"""The `driftline` command: its sub-commands are found through the entry-point group
`driftline.commands`.
"""

from __future__ import annotations

import errno
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.program.extras import needs_extra
from driftline_shared.program.process import run_in_utf8, set_up_process

if TYPE_CHECKING:
    import typer

GROUP = "driftline.commands"

EXTRAS = {"cloud": "cloud", "demo": "lab", "device": "device", "lab": "lab", "models": "export"}
"""The extra that holds all that a sub-command may import."""

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
    """The command with every sub-command whose module can be imported; one that is called without
    the packages it needs says which extra holds them.
    """
    import typer

    app = typer.Typer(
        name="driftline",
        help="Keeps a small multimodal LLM on a device good while the world before it drifts.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.command()
    def version() -> None:
        """The version of this install."""
        typer.echo(f"driftline {metadata.version('driftline')}")

    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        if find_spec(entry.module.partition(".")[0]) is None:
            continue
        try:
            app.add_typer(entry.load(), name=entry.name)
        except ModuleNotFoundError as missing:
            # An extra that was not installed (torch, ray …) hides the command that needs it, and no
            # other.
            if (missing.name or "").startswith("driftline"):
                raise
    return app


def main() -> None:
    """Run the command; an error of ours is a cause, a fix and an exit code, no traceback. A package
    that this install lacks is such an error, too.
    """
    run_in_utf8()
    set_up_process()
    name = next(iter(sys.argv[1:]), "")
    try:
        with needs_extra(f"driftline {name}", EXTRAS.get(name, name)):
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
        _say(f"error: {error}\n  fix: {error.fix}  [{error.reason}]")
        sys.exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED)
    except OSError as error:
        if (fix := DISK_ERRORS.get(error.errno or 0)) is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _say(f"error: {error.strerror}{where}\n  fix: {fix}")
        sys.exit(EXIT_FAILED)


def _stopped() -> NoReturn:
    _say("stopped: Ctrl-C (SIGINT)")
    sys.exit(EXIT_STOPPED)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
