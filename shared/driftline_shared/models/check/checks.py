"""Whether a pair fits together: what is wrong, and what to do about it, one finding each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from driftline_shared.codec.transform.file import load_transform
from driftline_shared.errors import DriftlineError, PairError
from driftline_shared.models.check.findings import (
    Finding,
    Limit,
    error,
    note,
    too_little,
    warning,
)
from driftline_shared.models.check.inspection import Inspection, grid_of, inspect_checkpoint
from driftline_shared.models.check.memory import (
    PRECISIONS,
    Plan,
    Precision,
    Workload,
    cloud_plan,
    device_plan,
    precision_of,
)
from driftline_shared.models.check.tensors import check_whole
from driftline_shared.models.check.traffic import (
    SampleBytes,
    UpdateBytes,
    sample_bytes,
    update_bytes,
)
from driftline_shared.models.fit.translation import TRANSLATOR_FILE
from driftline_shared.models.vocabulary.vocabulary import compare
from driftline_shared.pair import hub
from driftline_shared.pair.pair import (
    Checkpoint,
    Draft,
    load_pair,
    read_token_space,
    token_space_digest,
)
from driftline_shared.tokens import MAX_SAMPLE_BYTES, Grid, SamplingPolicy

FIT = "run `driftline models fit-token-space {pair} --images DIR --questions FILE`"

POOR_TRANSLATOR = 0.5
"""Relative error above which a translator keeps less than half of what the teacher's tokens say."""

_DEVICE_SETTINGS = {kind: f'[student] quantization = "{kind}"' for kind in ("int8", "nf4")}
_CLOUD_SETTINGS = {"bfloat16": '[teacher] dtype = "bfloat16"'}


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All findings, and the numbers behind them; None where they cannot be known."""

    name: str
    findings: list[Finding]
    student: Inspection | None = None
    teacher: Inspection | None = None
    device: dict[Precision, Plan] = field(default_factory=dict)
    cloud: dict[Precision, Plan] = field(default_factory=dict)
    sample: SampleBytes | None = None
    update: UpdateBytes | None = None

    @property
    def has_errors(self) -> bool:
        return any(finding.level == "error" for finding in self.findings)


def check_pair(draft: Draft, *, device: Limit | None = None, cloud: Limit | None = None) -> Report:
    """Everything that can be said about a pair without running its models."""
    findings: list[Finding] = list(_written(draft))
    student = _inspected(draft, draft.student, findings)
    teacher = _inspected(draft, draft.teacher, findings)
    if student is None or teacher is None:
        return Report(name=draft.spec.name, findings=findings, student=student, teacher=teacher)
    findings += _targets(student)
    findings += _towers(draft)
    findings += _vocabularies(draft)
    findings += _distillation(draft)
    grid = _grids(draft, findings)
    findings += _fitted(draft, student)
    report = Report(name=draft.spec.name, findings=findings, student=student, teacher=teacher)
    return (
        report if grid is None else _numbers(draft, report, student, teacher, grid, device, cloud)
    )


def _written(draft: Draft) -> Iterator[Finding]:
    """What the file alone says."""
    if draft.spec.note:
        yield note(draft.spec.note)
    for side in (draft.teacher, draft.student):
        before, found, after = side.prompt.partition("<image>")
        if not found or "<image>" in after or "{question}" in before or "{question}" not in after:
            yield error(
                f"the {side.side}'s prompt {side.prompt!r} does not hold <image> once and "
                "then {question} once",
                "write the prompt as the checkpoint's chat template does; "
                "`driftline models inspect` says whether it has one",
            )
        if side.revision is not None and not hub.is_commit(side.revision):
            yield warning(
                f"the {side.side}'s revision {side.revision!r} is a name, which can be moved",
                "write the full commit of 40 letters and digits",
            )


def _inspected(draft: Draft, side: Checkpoint, findings: list[Finding]) -> Inspection | None:
    try:
        adapter = draft.adapter if side.side == "student" else None
        found = inspect_checkpoint(side.dir, adapter=adapter, canvas=draft.canvas, with_grid=False)
        check_whole(side.dir)
    except PairError as cause:
        told = cause.fix if cause.has_own_fix else ""
        findings.append(
            error(
                f"the {side.side} cannot be used: {cause}",
                told or f"correct [{side.side}] path, or id and revision, in {draft.file.name}",
            )
        )
        return None
    if found.language.rows < found.language.num_tokens:
        findings.append(
            error(
                f"the {side.side}'s tokenizer knows {found.language.num_tokens} tokens, its "
                f"embedding has {found.language.rows} rows",
                "take tokenizer and weights of one checkpoint",
            )
        )
    return found


def _targets(student: Inspection) -> Iterator[Finding]:
    for target, nearest in student.adapter.missing:
        yield error(
            f"the adapter's target {target!r} matches no layer of the student ({student.family})",
            f"in [adapter] write one of {', '.join(nearest)}; without query_targets and "
            "language_targets the family's own are taken",
        )


def _towers(draft: Draft) -> Iterator[Finding]:
    digest, spec = token_space_digest(draft.student.dir), draft.spec
    fit = FIT.format(pair=draft.dir.name)
    if spec.token_space.digest and digest != spec.token_space.digest:
        yield error(
            "the student's vision tower, or how it prepares images, is not the one pair.toml names",
            f"take the checkpoint that the pair was fitted on, or {fit}",
        )
    if token_space_digest(draft.teacher.dir) == digest:
        yield note("teacher and student share one vision tower")
        return
    fitted = spec.translator is not None and (draft.dir / TRANSLATOR_FILE).is_file()
    if not fitted:
        yield error(
            "the teacher's vision tower is not the student's: it cannot read the device's "
            "tokens, and there is no fitted translator",
            f"{fit}, which fits one, or use checkpoints that share a tower",
        )
        return
    wrong = spec.translator.relative_error if spec.translator is not None else None
    if wrong is None or wrong > POOR_TRANSLATOR:
        yield warning(
            f"the translator's relative error is {wrong}: labels will be poor",
            'fit it on more images, or with kind = "mlp" in [translator]; or let images leave',
        )
    else:
        yield note(f"towers differ; translator with relative error {wrong:.3f}")


def _distillation(draft: Draft) -> Iterator[Finding]:
    named = draft.spec.distillation.settings
    if named:
        told = ", ".join(f"{key} {value}" for key, value in named.items())
        yield note(f"distillation: {told}; what a cloud sets itself under distil counts before it")


def _vocabularies(draft: Draft) -> Iterator[Finding]:
    wanted = draft.spec.distillation.vocabulary
    try:
        found = compare(draft.student.dir, draft.teacher.dir, wanted)
    except PairError as cause:
        yield error(
            str(cause),
            "choose checkpoints with one tokenizer, or leave [distillation] vocabulary out",
        )
        return
    if found.mode == "same":
        yield note(f"distillation vocabulary: same; {found.sentence}")
        return
    yield warning(
        f"distillation vocabulary: {found.mode}; {found.sentence}",
        "nothing has to be done; checkpoints with one tokenizer would teach more",
    )


def _grids(draft: Draft, findings: list[Finding]) -> Grid | None:
    """The student's grid on the pair's canvas, held against the file's and the teacher's."""
    try:
        grid = grid_of(draft.student.dir, draft.canvas)
        theirs = grid_of(draft.teacher.dir, draft.canvas)
    except PairError as cause:
        told = cause.fix if cause.has_own_fix else "correct image in [token_space]"
        findings.append(error(str(cause), told))
        return None
    if grid is None:
        findings.append(
            warning(
                "without torch the token grid cannot be checked",
                "pip install 'driftline[device-torch]'",
            )
        )
        return draft.grid
    if draft.grid is not None and draft.grid != grid:
        findings.append(
            error(
                f"the student lays tokens out as {_text(grid)}, pair.toml says {_text(draft.grid)}",
                FIT.format(pair=draft.dir.name),
            )
        )
    if theirs != grid and draft.spec.translator is None and theirs is not None:
        findings.append(
            error(
                f"the teacher lays tokens out as {_text(theirs)}, the student as {_text(grid)}",
                "name one canvas: image = { height, width } in [token_space]",
            )
        )
    return grid


def _fitted(draft: Draft, student: Inspection) -> Iterator[Finding]:
    """Whether the files beside pair.toml are there and belong to it."""
    fit, space = FIT.format(pair=draft.dir.name), draft.spec.token_space
    if not space.digest or draft.grid is None:
        yield error("the token space is not fitted yet", fit)
        return
    try:
        width = read_token_space(draft.dir, space.digest, draft.grid).width
        pair = load_pair(draft.file)
    except PairError as cause:
        yield error(str(cause), fit)
        return
    if width != student.token_width:
        yield error(
            f"token_space.safetensors has {width} channels, the student's tokens "
            f"{student.token_width}",
            fit,
        )
    calibrate = f"run `driftline device calibrate --pair {draft.dir.name}`"
    parts: list[tuple[Callable[[], object], str]] = [
        (pair.source_set, fit),
        (pair.probe_set, f"{fit}, or write probe/probe.jsonl and its images"),
        (lambda: pair.gate, calibrate),
    ]
    for part, fix in parts:
        try:
            part()
        except (DriftlineError, OSError, KeyError, ValueError) as cause:
            yield error(str(cause), fix)


def _numbers(
    draft: Draft,
    report: Report,
    student: Inspection,
    teacher: Inspection,
    grid: Grid,
    device: Limit | None,
    cloud: Limit | None,
) -> Report:
    spec, work, policy = draft.spec, Workload(), SamplingPolicy()
    float_bytes = 4 if spec.student.dtype in (None, "float32") else 2
    num_tokens, steps = grid.num_tokens, spec.max_new_tokens
    on_device = {
        p: device_plan(student, num_tokens, steps, p, work, float_bytes=float_bytes)
        for p in PRECISIONS
    }
    in_cloud = {p: cloud_plan(teacher, student, num_tokens, steps, p, work) for p in PRECISIONS}
    findings = [*report.findings]
    chosen = precision_of(spec.student.quantization, spec.student.dtype)
    if device is not None:
        findings += too_little("device", on_device, chosen, device, _DEVICE_SETTINGS)
    if cloud is not None:
        loaded = precision_of("none", spec.teacher.dtype)
        findings += too_little("cloud", in_cloud, loaded, cloud, _CLOUD_SETTINGS)
    try:
        tables = load_transform(draft.dir, student.token_width)
    except PairError:
        tables = None  # the token space told it
    sample = sample_bytes(grid, student.token_width, policy, tables)
    if sample.kept < sample.wanted:
        findings.append(
            warning(
                f"{sample.wanted} tokens of {student.token_width} channels are more than the "
                f"{MAX_SAMPLE_BYTES >> 20} MiB of a sample: {sample.kept} leave",
                "use token_codec int4, a smaller token_share, or a smaller image in [token_space]",
            )
        )
    return replace(
        report,
        findings=findings,
        device=on_device,
        cloud=in_cloud,
        sample=sample,
        update=update_bytes(student.adapter.num_parameters, draft.spec.distillation.trained_share),
    )


def _text(grid: Grid) -> str:
    return f"{grid.frames} x {grid.rows} x {grid.cols}"
