"""`driftline device`: run a device, ask it one question, calibrate it, look at it, take it back.

Exit codes of every command: 0 well; 1 data, link, pair or state is wrong, a check failed, or
nothing was answered; 2 a flag or setting is wrong (a state folder in use, too).

    answering.py    run, ask, calibrate
    looking.py      status
    preparing.py    prepare
    wishes.py       rollback
    options.py      flags that several of them take, and how settings are read
"""

from __future__ import annotations

import typer

from driftline_device.cli.inspect import app as looking_app
from driftline_device.cli.operate import app as wishes_app
from driftline_device.cli.prepare import app as preparing_app
from driftline_device.cli.run import app as answering_app

app = typer.Typer(
    name="device",
    help="Answer questions about images here, and let the cloud help when the world drifts.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
# Without a name, the commands of each become commands of this one.
app.add_typer(answering_app)
app.add_typer(looking_app)
app.add_typer(preparing_app)
app.add_typer(wishes_app)
