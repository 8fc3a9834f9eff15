"""The benches of which tokens leave and how few are enough, as commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from driftline_lab.bench.options import Out, Seeds, WorkFile, WorldName
from driftline_lab.bench.report import finish
from driftline_lab.lists import names_of, numbers_of, seeds_of
from driftline_lab.outputs import apart
from driftline_shared.errors import ConfigError


def share(
    domains: Annotated[str, typer.Option(help="Domains, comma-separated.")] = "night,sketch",
    questions: Annotated[int, typer.Option(help="Stream questions of each domain.", min=1)] = 300,
    out: Out = None,
) -> None:
    """Sweep the share of tokens that leave: teacher accuracy and bytes a sample, by token scorer.

    Example: driftline lab bench share --domains night,fog
    """
    from driftline_lab.bench.device.share import run_share
    from driftline_lab.data.worlds import EASYVQA

    finish(run_share(EASYVQA.domains_of(domains), questions), out)


def tokens(
    domains: Annotated[
        str, typer.Option(help="Drifts; by default those of the world's default stream.")
    ] = "",
    scorers: Annotated[
        str, typer.Option(help="Token scorers, SCORER[+spread=S][+mass=M]; by default all.")
    ] = "",
    round_scorers: Annotated[str, typer.Option(help="Those with rounds; by default all.")] = "",
    rounds_at: Annotated[
        str, typer.Option(help="Shares at which a round is run; empty: labels alone.")
    ] = "0.05,0.1,0.25",
    questions: Annotated[int, typer.Option(help="Stream questions of a domain.", min=16)] = 600,
    tests: Annotated[int, typer.Option(help="Test questions of a domain.", min=16)] = 400,
    seeds: Seeds = "0",
    values: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of distil, name=value; repeat.")
    ] = None,
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "boards",
    world: WorldName = None,
    work: WorkFile = None,
    out: Out = None,
) -> None:
    """Token scorer by share, on any world: square kept (boards), teacher right, a round's gain.

    Example: driftline lab bench tokens --domains ada --set extra_questions=0 --out rows.json
    """
    from driftline_device.sampling.scorers import TOKEN_SCORERS
    from driftline_lab.bench.cloud.akd import expand
    from driftline_lab.bench.tokens.run import SHARES, TokensPlan, run_tokens

    apart(out, [work])
    swept = names_of("--scorers", scorers) if scorers else TOKEN_SCORERS
    with_rounds = names_of("--round-scorers", round_scorers) if round_scorers else swept
    at = numbers_of("--rounds-at", rounds_at) if rounds_at else ()
    _within("--round-scorers", with_rounds, swept)
    _within("--rounds-at", at, SHARES)
    settings = expand(values or [])
    if len(settings) > 1:
        raise ConfigError("--set: one value of each setting; `bench akd` compares several")
    plan = TokensPlan(
        pair=pair,
        world=world,
        domains=names_of("--domains", domains) if domains else (),
        scorers=swept,
        round_shares=at,
        round_scorers=with_rounds,
        num_questions=questions,
        num_tests=tests,
        seeds=seeds_of(seeds),
        settings=settings[0],
    )
    finish(run_tokens(plan, work), out)


def _within(option: str, wanted: Iterable[object], swept: Sequence[object]) -> None:
    """ConfigError for what is not among those that are measured: its rounds would be left out."""
    for one in wanted:
        if one not in swept:
            told = ", ".join(str(each) for each in swept)
            raise ConfigError(f"{option}: {one} is none of what is measured: {told}")
