"""`driftline models sign` and `verify`: pairs under a signature. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from driftline_shared.pair.signed import SignedPair

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
PairArgument = Annotated[
    str, typer.Argument(help="A shipped pair, a folder with pair.toml, or a pair's TOML file.")
]

_SIGN_EXAMPLES = """
**Examples**

    driftline models sign ./my-export --key ~/keys/pairs.key --make-key

    driftline models sign ./my-export --key ~/keys/pairs.key --json

Writes model.sig into the pair's folder: the digests of all other files, signed. Sign last: what is
fitted, calibrated or put there afterwards is signed again. The key stays with who signs;
pairs.key.pub and the id that is printed go to who verifies. A key of your own may be Ed25519 or EC
on P-256 in PEM; what the latter signs `model_signing verify key` reads, too.
"""

_VERIFY_EXAMPLES = """
**Examples**

    driftline models verify ./my-export --trust pairs.key.pub

    driftline models verify ./my-export --trust 5f0c…64 digits… --json

Whom you trust is told by you, never by the pair. Devices and clouds look at each start, where
their setting `pair_key` has such a file or id. Exit codes: 0 all of it is what was signed; 1 it is
not, or nobody signed it: what differs is named; 2 there is no such key.
"""


@app.command(epilog=_SIGN_EXAMPLES)
def sign(
    pair: PairArgument,
    key: Annotated[Path, typer.Option("--key", help="The file of the key.", metavar="FILE")],
    make_key: Annotated[
        bool, typer.Option("--make-key", help="Make that file, for its owner alone (0600).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign a pair's folder, so that devices and clouds can tell that it is whole, and whose."""
    from rich.console import Console
    from rich.markup import escape

    from driftline_shared.pair.signed import sign_pair
    from driftline_shared.signing.folders import keys

    signer = keys.make_key(key) if make_key else keys.read_key(key)
    with Console(stderr=True).status("reading the pair") as status:
        signed = sign_pair(pair, signer, lambda text: status.update(escape(text)))
    _show(signed, "signed by", as_json)


@app.command(epilog=_VERIFY_EXAMPLES)
def verify(
    pair: PairArgument,
    trust: Annotated[
        str,
        typer.Option("--trust", help="The public key: its file, or its id.", metavar="FILE|ID"),
    ],
    as_json: AsJson = False,
) -> None:
    """Whether a pair is what the owner of a key signed: nothing added, removed or changed."""
    from rich.console import Console
    from rich.markup import escape

    from driftline_shared.pair.signed import verify_pair
    from driftline_shared.signing.folders.keys import trusted

    key = trusted(trust)
    with Console(stderr=True).status("reading the pair") as status:
        signed = verify_pair(pair, key, lambda text: status.update(escape(text)))
    _show(signed, "is what was signed by", as_json)


def _show(signed: SignedPair, how: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(signed)))
        return
    size = f"{signed.num_files} files, {signed.num_bytes:,} bytes"
    typer.echo(f"{signed.name} in {signed.folder} ({size}) {how} {signed.key}")
    for what in signed.outside:
        typer.echo(f"not in the folder, and so not signed: {what}")
