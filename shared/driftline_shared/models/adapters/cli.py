"""`driftline models adapter`: adapters out to plain peft, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Give an adapter to plain transformers + peft, or take one from there.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_EXPORT_EXAMPLES = """
**Examples**

    driftline models adapter export state/slots/a/adapter.safetensors ./peft --pair tiny

    driftline models adapter export releases/lines/LINE/7.safetensors ./peft --pair ./my-pair

A device keeps its two slots in its state folder, a cloud every version of a line in its own. Plain
peft reads the result: PeftModel.from_pretrained(base, "./peft").
"""

_IMPORT_EXAMPLES = """
**Examples**

    driftline models adapter import ./peft adapter.safetensors --pair tiny

The directory must be a LoRA adapter of the pair's rank, scaling and modules.
"""

PairOption = Annotated[
    str, typer.Option("--pair", help="The pair it belongs to: a shipped name, or a pair folder.")
]


@app.command("export", epilog=_EXPORT_EXAMPLES)
def export_(
    adapter: Annotated[Path, typer.Argument(help="A .safetensors file of a device or a cloud.")],
    out: Annotated[Path, typer.Argument(help="New or empty folder for the PEFT directory.")],
    pair: PairOption,
) -> None:
    """Write a PEFT directory that plain transformers + peft load with the same logits."""
    from driftline_shared.models.adapters.peft_directory import export_adapter, read_adapter
    from driftline_shared.pair.pair import load_pair

    export_adapter(read_adapter(adapter), load_pair(pair), out)
    typer.echo(f"{out}: a PEFT directory for the student of {pair}")


@app.command("import", epilog=_IMPORT_EXAMPLES)
def import_(
    folder: Annotated[Path, typer.Argument(help="A PEFT directory (adapter_config.json).")],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    pair: PairOption,
) -> None:
    """Write a PEFT directory's weights under Driftline's names."""
    from safetensors.numpy import save_file

    from driftline_shared.models.adapters.peft_directory import import_adapter
    from driftline_shared.pair.pair import load_pair

    save_file(import_adapter(folder, load_pair(pair)), out)
    typer.echo(f"{out}: an adapter of {pair}")
