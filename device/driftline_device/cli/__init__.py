"""`driftline device`: run a device, ask it one question, calibrate it, inspect it, operate it.

Exit codes of every command: 0 well; 1 data, link, pair or state is wrong, a check failed, or
nothing was answered; 2 a flag or setting is wrong (a state folder in use, too).

    run.py         run, ask, calibrate
    enrol.py       enrol
    inspect.py     status, doctor, versions, bytes, logs
    prepare.py     prepare
    operate.py     rollback, pause, resume
    teach.py       history, wrong, right, unmark
    options.py     flags that several of them take, and how settings are read
"""

from __future__ import annotations

import typer

from driftline_device.cli.enrol import app as enrol_app
from driftline_device.cli.inspect import app as inspect_app
from driftline_device.cli.operate import app as operate_app
from driftline_device.cli.prepare import app as prepare_app
from driftline_device.cli.run import app as run_app
from driftline_device.cli.teach import app as teach_app

app = typer.Typer(
    name="device",
    help="Answer questions about images here, and let the cloud help when the world drifts.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
# Without a name, the commands of each become commands of this one.
app.add_typer(run_app)
app.add_typer(enrol_app)
app.add_typer(inspect_app)
app.add_typer(prepare_app)
app.add_typer(operate_app)
app.add_typer(teach_app)
