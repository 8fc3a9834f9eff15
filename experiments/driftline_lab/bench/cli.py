"""`driftline lab bench`: measure; progress on stderr, the last line of stdout is JSON."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from driftline_device.runtime.factory import RuntimeName
from driftline_lab.bench.cloud.cli import gate, groups, ray_labelling, replay, token_codecs
from driftline_lab.bench.device_cli import answers, fuzz_pictures, second_question
from driftline_lab.bench.escalation.cli import escalate
from driftline_lab.bench.fuzz.cli import fuzz
from driftline_lab.bench.intake.cli import fleet, intake, status, trust
from driftline_lab.bench.options import Out, Seeds, WorldName
from driftline_lab.bench.poison.cli import poison
from driftline_lab.bench.privacy.cli import privacy
from driftline_lab.bench.report import finish, put_together
from driftline_lab.bench.tokens.cli import share, tokens
from driftline_lab.lists import names_of, numbers_of, seeds_of, wholes_of
from driftline_lab.outputs import probed

app = typer.Typer(
    help="Measure. Progress goes to stderr, the last line of stdout is one JSON document.",
    no_args_is_help=True,
)


@app.command()
def loop(
    context: typer.Context,
    seeds: Seeds = "0,1,2,3,4",
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    segments: Annotated[
        str, typer.Option(help="Domains of the stream; by default the demo's.")
    ] = "",
    device: Annotated[
        list[str] | None,
        typer.Option("--set-device", help="A setting of the device, as key=value; repeat."),
    ] = None,
    documents: Annotated[
        list[Path] | None,
        typer.Option(
            "--document", help="Summarise this result of `driftline demo --json`; repeat."
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder of finished seeds' documents; they are not run again."),
    ] = None,
    out: Out = None,
) -> None:
    """The whole demo, once a seed: recovered share, forgetting, bytes up and down.

    Mean over the seeds with its 95 % interval, worst seed, machine and versions.

    Example: driftline lab bench loop --pair smol --set-device runtime=onnx --out result.json
    """
    from driftline_lab.bench.loop import read_documents, run_loop

    if documents:
        put_together(context, read_documents, documents, out)
        return
    if work is not None:
        probed(work / "document", "--work")
    wanted = seeds_of(seeds)
    finish(run_loop(wanted, pair=pair, segments=segments, device=device or (), work=work), out)


@app.command()
def dwc(
    states: Annotated[list[Path], typer.Argument(help="Folders of `driftline demo --keep-state`.")],
    out: Out = None,
) -> None:
    """Every update of finished demos beside its uncompressed candidate, on the test sets.

    Example: driftline demo --keep-state run0 && driftline lab bench dwc run0
    """
    from driftline_lab.bench.cloud.dwc import run_dwc

    finish(run_dwc(states), out)


@app.command()
def uts(
    questions: Annotated[int, typer.Option(help="Questions timed.")] = 60,
    pair: Annotated[str, typer.Option(help="A pair, or an export.")] = "tiny",
    runtime: Annotated[RuntimeName, typer.Option(help="Which runs the model.")] = "auto",
    out: Out = None,
) -> None:
    """What token sampling adds to the time of an answer, in all and step by step.

    Example: driftline lab bench uts --pair ./export
    """
    from driftline_lab.bench.device.uts import run_uts

    finish(run_uts(questions, pair, runtime), out)


@app.command()
def spool(
    samples: Annotated[int, typer.Option(help="Samples in the spool.")] = 100_000, out: Out = None
) -> None:
    """Open a spool that holds many samples, beside an empty one.

    Example: driftline lab bench spool --samples 100000
    """
    from driftline_lab.bench.device.spool import run_spool

    finish(run_spool(samples), out)


@app.command()
def throughput(
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    device: Annotated[str, typer.Option(help="Where the cloud's models run: cpu, cuda.")] = "cpu",
    samples: Annotated[int, typer.Option(help="Samples labelled.", min=1)] = 64,
    out: Out = None,
) -> None:
    """Samples labelled and rows distilled per second, on this machine's CPU or accelerator.

    Example: driftline lab bench throughput --pair smol --device cuda
    """
    from driftline_lab.bench.cloud.throughput import run_throughput

    finish(run_throughput(pair, device, samples), out)


@app.command()
def runtimes(
    names: Annotated[
        str,
        typer.Option("--runtimes", help="Some of torch, genai, llama.cpp, onnx-int8, onnx-int4, …"),
    ] = "",
    rounds: Annotated[int, typer.Option(help="Turns of each, in alternation.", min=1)] = 7,
    threads: Annotated[int, typer.Option(help="CPU threads of each.", min=1)] = 2,
    prompt: Annotated[int, typer.Option(help="Tokens read.", min=1, max=960)] = 129,
    work: Annotated[
        Path | None, typer.Option(help="Folder for the models; kept. None: a temporary one.")
    ] = None,
    out: Out = None,
) -> None:
    """SmolLM2-135M in our graphs, torch, onnxruntime-genai and llama.cpp: prefill, decode, memory.

    Example: driftline lab bench runtimes --work ./models --runtimes torch,onnx-int8,onnx-int4
    """
    from driftline_lab.bench.device.decoders.table import DECODERS
    from driftline_lab.bench.device.runtimes import run_runtimes

    chosen = names_of("--runtimes", names, DECODERS) if names else DECODERS
    with tempfile.TemporaryDirectory() as scratch:
        done = run_runtimes(
            work or Path(scratch),
            names=chosen,
            rounds=rounds,
            threads=threads,
            num_prompt=prompt,
        )
    finish(done, out)


@app.command()
def swaps(
    pair: Annotated[str, typer.Option(help="A shipped pair, a pair folder or an export.")] = "tiny",
    runtime: Annotated[RuntimeName, typer.Option(help="Which runs the model.")] = "torch",
    swaps: Annotated[int, typer.Option(help="How many.", min=1)] = 1_000,
    threads: Annotated[int, typer.Option(help="Threads that ask without a pause.", min=1)] = 2,
    out: Out = None,
) -> None:
    """Swap adapters under constant load: pause, and answers that failed or mixed versions.

    Example: driftline lab bench swaps --pair ./export --runtime onnx
    """
    from driftline_lab.bench.device.swaps import run_swaps

    finish(run_swaps(pair, runtime=runtime, swaps=swaps, threads=threads), out)


@app.command()
def beside(
    other: Annotated[Path, typer.Argument(help="Another checkout of Driftline.")],
    export: Annotated[Path, typer.Option(help="An export of the pair, for the onnx runtime.")],
    pair: Annotated[str, typer.Option(help="The pair itself, for the torch runtime.")] = "tiny",
    rounds: Annotated[int, typer.Option(help="Starts of each, four turns in each.", min=1)] = 5,
    swaps: Annotated[int, typer.Option(help="Swaps of each, in all.", min=1)] = 1_000,
    out: Out = None,
) -> None:
    """This checkout beside another: answers, scores, memory, swaps under load, both runtimes.

    Example: driftline lab bench beside ../driftline-before --export ./export
    """
    from driftline_lab.bench.device.beside import run_beside

    pairs = [(pair, "torch"), (str(export.resolve()), "onnx")]
    finish(run_beside(other, pairs, rounds=rounds, swaps=swaps), out)


@app.command()
def starts(
    export: Annotated[Path, typer.Option(help="An export of the pair.")],
    pair: Annotated[str, typer.Option(help="The pair itself, for the torch runtime.")] = "tiny",
    rounds: Annotated[int, typer.Option(help="Starts of each, in alternation.", min=1)] = 5,
    samples: Annotated[int, typer.Option(help="Samples in the full spool.", min=1)] = 100_000,
    out: Out = None,
) -> None:
    """From the start of a process to its first answer: both runtimes, empty and full spool.

    Example: driftline lab bench starts --export ./export
    """
    from driftline_lab.bench.device.starts import run_starts

    pairs = [(pair, "torch"), (str(export), "onnx")]
    with tempfile.TemporaryDirectory() as work:
        finish(run_starts(pairs, rounds=rounds, num_samples=samples, work=Path(work)), out)


@app.command()
def idle(
    pair: Annotated[str, typer.Option(help="A pair, or an export.")] = "tiny",
    seconds: Annotated[float, typer.Option(help="How long each is watched.", min=1.0)] = 60.0,
    out: Out = None,
) -> None:
    """A device with nothing to do: share of a core that its process takes, by what it waits for.

    Example: driftline lab bench idle --pair ./export --seconds 60
    """
    from driftline_lab.bench.device.idle import run_idle

    with tempfile.TemporaryDirectory() as work:
        finish(run_idle(pair, seconds=seconds, work=Path(work)), out)


@app.command()
def soak(
    pair: Annotated[str, typer.Option(help="A pair, or an export.")] = "tiny",
    runtime: Annotated[str, typer.Option(help="torch or onnx.")] = "torch",
    minutes: Annotated[float, typer.Option(help="How long.", min=0.1)] = 30.0,
    clients: Annotated[int, typer.Option(help="Clients that ask without a pause.", min=1)] = 4,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the device; may be repeated.")
    ] = None,
    out: Out = None,
) -> None:
    """A device under full load over its API: memory over time, requests that failed.

    Example: driftline lab bench soak --pair ./export --runtime onnx --minutes 30
    """
    from driftline_lab.bench.device.soak import run_soak

    with tempfile.TemporaryDirectory() as work:
        done = run_soak(
            pair,
            runtime=runtime,
            minutes=minutes,
            clients=clients,
            work=Path(work),
            settings=set_ or (),
        )
    finish(done, out)


@app.command()
def akd(
    pair: Annotated[str, typer.Option(help="A shipped pair, or a pair folder.")] = "tiny",
    world: WorldName = None,
    domains: Annotated[
        str, typer.Option(help="Drifts, comma-separated; by default the default stream's.")
    ] = "",
    questions: Annotated[int, typer.Option(help="Stream questions seen.", min=16)] = 1500,
    rounds: Annotated[int, typer.Option(help="Rounds these are split into.", min=1)] = 1,
    share: Annotated[
        float, typer.Option(help="Share of the tokens that leaves.", min=0.01, max=1)
    ] = 0.5,
    sample_share: Annotated[
        float, typer.Option(help="Share of the questions that leaves.", min=0.01, max=1)
    ] = 0.3,
    seeds: Seeds = "0",
    tests: Annotated[int, typer.Option(help="Questions of each accuracy.", min=16)] = 500,
    final: Annotated[bool, typer.Option(help="Accuracies on the test part.")] = False,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="name=v or name=v1,v2: distil settings.")
    ] = None,
    packed: Annotated[
        str, typer.Option(help="Also test what is coded of it, at these shares of its weights.")
    ] = "",
    out: Out = None,
) -> None:
    """Distillation alone, for every combination of settings: recovered on drifts, lost on source.

    Example: driftline lab bench akd --domains sketch --set learning_rate=1e-3,2e-3
    """
    from driftline_lab.bench.cloud.akd import Plan, run_akd
    from driftline_lab.data.worlds import world_for

    chosen = world_for(world, pair=pair)
    plans = [
        Plan(
            world=chosen,
            domain=domain,
            num_questions=questions,
            rounds=rounds,
            share=share,
            sample_share=sample_share,
            seed=seed,
            final=final,
            num_test=tests,
            packed=numbers_of("--packed", packed, above=0, most=1) if packed else (),
        )
        for domain, seed in itertools.product(chosen.drifts_of(domains), seeds_of(seeds))
    ]
    finish(run_akd(pair, plans, values or ()), out)


@app.command()
def corruptions(
    pictures: Annotated[int, typer.Option(help="Test pictures.", min=2, max=1000)] = 120,
    severities: Annotated[str, typer.Option(help="Severities, comma-separated: 3, 5.")] = "3,5",
    work: Annotated[
        Path | None, typer.Option(help="Folder that keeps what is measured; a rerun goes on there.")
    ] = None,
    out: Out = None,
) -> None:
    """Teacher and student of tiny on ImageNet-C's families, which neither was trained for.

    Example: driftline lab bench corruptions --out experiments/results/corruptions.json
    """
    from driftline_lab.bench.corruptions import run_corruptions

    chosen = wholes_of("--severities", severities, least=1)
    finish(run_corruptions(pictures, severities=chosen, work=work), out)


@app.command("all")
def everything(out: Out = None) -> None:
    """The benches spool, uts, share and loop, as they are by default: more than an
    hour on two cores. The others need an export, a demo's state or packages of others, or take a
    grid.
    """
    from driftline_lab.bench.device.share import run_share
    from driftline_lab.bench.device.spool import run_spool
    from driftline_lab.bench.device.uts import run_uts
    from driftline_lab.bench.loop import run_loop

    result = {
        "spool": run_spool(100_000),
        "uts": run_uts(60),
        "share": run_share(["night", "sketch"], 300),
        "loop": run_loop(range(5)),
    }
    finish(result, out)


@app.command()
def trace(
    kills: Annotated[int, typer.Option(help="Recorders to kill.", min=0)] = 20,
    flips: Annotated[int, typer.Option(help="Bits to flip, one at a time.", min=0)] = 500,
    events: Annotated[int, typer.Option(help="Events to record for speed.", min=2)] = 5_000,
    pair: Annotated[str, typer.Option(help="Whose answers are timed with a recorder.")] = "tiny",
    blocks: Annotated[int, typer.Option(help="Blocks of 16 answers each.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of moments and bits.")] = 0,
    out: Out = None,
) -> None:
    """Kill recorders at random moments, flip bits of parts, measure what recording costs.

    Example: driftline lab bench trace --kills 20 --out trace.json
    """
    from driftline_lab.bench.trace.run import run_trace

    finish(
        run_trace(
            num_kills=kills,
            num_flips=flips,
            num_events=events,
            pair=pair,
            num_blocks=blocks,
            seed=seed,
        ),
        out,
    )


operating_curve = app.command()(gate)
devices_grouped = app.command()(groups)
replayed = app.command()(replay)
labelled_on_ray = app.command()(ray_labelling)
samples_pushed = app.command()(intake)
lived_together = app.command()(fleet)
told_of_many = app.command()(status)
certified = app.command()(trust)
answers_compared = app.command()(answers)
asked_again = app.command()(second_question)
mutated_formats = app.command()(fuzz)
mutated_pictures = app.command()(fuzz_pictures)
codecs_compared = app.command()(token_codecs)
teacher_asked = app.command()(escalate)
tokens_inverted = app.command()(privacy)
hostile_devices = app.command()(poison)
shares_swept = app.command()(share)
tokens_compared = app.command()(tokens)
