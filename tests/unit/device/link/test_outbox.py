"""Reports that wait: in order, over restarts, bounded, whatever is in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_device.link import outbox as module
from driftline_device.link.outbox import Outbox
from driftline_shared.bounds import MAX_DETAIL_CHARS
from driftline_shared.errors import LinkError
from driftline_shared.status import UpdateOutcome, UpdateReport


def report(version: int, **fields: object) -> UpdateReport:
    values: dict[str, object] = {"reason": "applied", "numbers": {"agreement": 0.5}}
    return UpdateReport(version=version, outcome=UpdateOutcome.APPLIED, **(values | fields))  # type: ignore[arg-type]


def test_first_in_first_out_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "reports.jsonl"
    outbox = Outbox(path)
    for version in (1, 2, 2):
        outbox.put(report(version))
    seen = []
    while (first := outbox.first()) is not None:
        seen.append(first)
        outbox.remove(first)
        outbox = Outbox(path)
    assert seen == [report(1), report(2), report(2)]


def test_numbers_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    Outbox(path).put(report(1, numbers={"loss": float("inf")}))
    first = Outbox(path).first()
    assert first is not None and first.numbers == {"loss": float("inf")}


def test_bounded_by_number_and_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REPORTS", 3)
    outbox = Outbox(tmp_path / "reports.jsonl")
    for version in range(5):
        outbox.put(report(version, detail="x" * 5_000))
    first = outbox.first()
    assert len(outbox) == 3 and first is not None
    assert (first.version, len(first.detail)) == (2, MAX_DETAIL_CHARS)


def test_broken_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    Outbox(path).put(report(1))
    good = path.read_text()
    path.write_bytes(b'\xff\xfe\n{"version": 1}\n[1]\nnull\n' + good.encode() + good[:20].encode())
    outbox = Outbox(path)
    assert len(outbox) == 1
    assert outbox.first() == report(1)


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    outbox = Outbox(blocker.with_name("gone") / "reports.jsonl")
    blocker.with_name("gone").write_text("a file where the folder should be")
    with pytest.raises(LinkError, match="cannot be kept"):
        outbox.put(report(1))
    assert len(outbox) == 0
