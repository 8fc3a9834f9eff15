"""Commands by which an owner looks back and teaches: history, wrong, right, unmark."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_device.cli.options import ConfigFlag, JsonFlag, SetFlag, StateFlag, load

if TYPE_CHECKING:
    from pathlib import Path

    from driftline_device.history.history import History

app = typer.Typer()

_HISTORY_EXAMPLES = """
**Examples**

    driftline device history

    driftline device history --marked --json

    driftline device history --updates

An answer's id is shown by its last eight digits; they are what `wrong` and `right` take. --json
gives one JSON document. Exit codes: 0 well; 1 no daemon has run there; 2 a setting is wrong.
"""

_WRONG_EXAMPLES = """
**Examples**

    driftline device wrong 5d20c3f1 "two"

    driftline device wrong 5d20c3f1

Every later update is asked the marked questions before it is taken; one that breaks more of them
than it fixes is not. What you mark stays on this device. The picture is kept with the mark where
the device still has it: of an answer given lately, or with history.pictures = true. Exit codes: 0
well; 1 there is no such answer; 2 a setting is wrong.
"""

_RIGHT_EXAMPLES = """
**Examples**

    driftline device right 5d20c3f1

An answer marked right is one that an update must not break. Exit codes: 0 well; 1 there is no such
answer; 2 a setting is wrong.
"""

_UNMARK_EXAMPLES = """
**Examples**

    driftline device unmark 5d20c3f1

Exit codes: 0 well; 1 there is no such answer; 2 a setting is wrong.
"""

IdArgument = Annotated[
    str, typer.Argument(help="An answer's id, or the last digits of it.", metavar="ID")
]


@app.command(epilog=_HISTORY_EXAMPLES)
def history(
    num: Annotated[
        int, typer.Option("-n", "--num", help="Newest answers to show.", min=1, max=100_000)
    ] = 20,
    marked: Annotated[
        bool, typer.Option("--marked", help="Only answers that were marked.")
    ] = False,
    updates: Annotated[
        bool, typer.Option("--updates", help="What became of updates, and why, instead.")
    ] = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Past answers, the newest last, and what you said about them."""
    from driftline_device.show.past import describe_answer, describe_card

    with _open(state, config, set_) as found:
        if updates:
            cards = found.updates(most=num)
            if as_json:
                rows = [asdict(card) for card in reversed(cards)]
                typer.echo(json.dumps({"updates": rows}, indent=2))
            else:
                _show([line for card in reversed(cards) for line in describe_card(card)])
            return
        answers = found.answers(most=num, marked=marked)
        if as_json:
            shown = [asdict(each) for each in reversed(answers)]
            typer.echo(json.dumps({"answers": shown}, indent=2))
        else:
            _show([describe_answer(each) for each in reversed(answers)])


@app.command(epilog=_WRONG_EXAMPLES)
def wrong(
    answer_id: IdArgument,
    right_answer: Annotated[
        str | None, typer.Argument(help="What would be right, where you know it.", metavar="ANSWER")
    ] = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Say that an answer was wrong, and what would be right."""
    _mark(answer_id, right=False, answer=right_answer, where=(state, config, set_), as_json=as_json)


@app.command(epilog=_RIGHT_EXAMPLES)
def right(
    answer_id: IdArgument,
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Say that an answer was right."""
    _mark(answer_id, right=True, answer=None, where=(state, config, set_), as_json=as_json)


@app.command(epilog=_UNMARK_EXAMPLES)
def unmark(
    answer_id: IdArgument,
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Take back what you said about an answer."""
    with _open(state, config, set_) as found:
        past = found.unmark(answer_id)
    if as_json:
        typer.echo(json.dumps({"id": past.id}))
    else:
        typer.echo(f"{past.id[-8:]}: not marked any more")


_Where = tuple["Path | None", "Path | None", "list[str] | None"]


def _mark(answer_id: str, *, right: bool, answer: str | None, where: _Where, as_json: bool) -> None:
    import time

    from driftline_device.show.past import describe_mark

    with _open(*where) as found:
        mark = found.mark(answer_id, right=right, answer=answer, now_s=time.time())
        kept = found.find(mark.id).has_picture
    if as_json:
        shown = {"id": mark.id, "said": mark.said, "right": mark.right, "answer": mark.answer}
        typer.echo(json.dumps({**shown, "picture": kept}))
    else:
        typer.echo(describe_mark(mark, kept=kept))


@contextmanager
def _open(state: Path | None, config: Path | None, set_: list[str] | None) -> Iterator[History]:
    """The history of a state folder that a daemon has used. Raises DataError for any other."""
    settings = load(config, set_, {"state": state})
    from driftline_device.daemon.snapshot import read_snapshot
    from driftline_device.history.history import History
    from driftline_shared.errors import DataError

    read_snapshot(settings.state)
    found = History(settings.state, settings.history, keeper=False)
    try:
        yield found
    except (sqlite3.Error, OSError) as error:
        raise DataError(f"the history in {settings.state} cannot be used: {error}") from error
    finally:
        found.close()


def _show(lines: list[str]) -> None:
    for line in lines or ["nothing yet"]:
        typer.echo(line)
