"""`driftline cloud round start --wait`: until the round has ended, or the cloud is gone."""

from __future__ import annotations

import pytest

from driftline_cloud.commands import round_cli
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import CloudStatus, LineStatus, RoundStatus


def opened(state: str = "labelling") -> RoundStatus:
    return RoundStatus(
        round_id="r1", state=state, num_samples=2, target_version=1, reason="operator"
    )


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[CloudStatus | LinkError]:
    """What the cloud answers in turn; the last one again and again."""
    given: list[CloudStatus | LinkError] = []

    def fetch_status(address: str, *, timeout_s: float, credentials: object) -> CloudStatus:
        found = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(found, LinkError):
            raise found
        return found

    monkeypatch.setattr("driftline_shared.rpc.status.fetch_status", fetch_status)
    monkeypatch.setattr(round_cli, "POLL_S", 0.0)
    return given


def status(round_: RoundStatus) -> CloudStatus:
    line = LineStatus(
        line="l", newest_version=0, num_samples=2, num_waiting=0, num_rounds=1, round=round_
    )
    return CloudStatus(cloud_id="c", version="0", lines=(line,))


def test_a_cloud_that_is_silent_for_a_moment_is_asked_again(
    answers: list[CloudStatus | LinkError],
) -> None:
    answers += [LinkError("busy"), status(opened()), LinkError("busy"), status(opened("done"))]
    assert round_cli._ended("here:1", opened(), 1.0).state == "done"


def test_a_cloud_that_stays_silent_is_gone(
    answers: list[CloudStatus | LinkError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_cli, "SILENT_S", 0.01)
    answers.append(LinkError("refused"))
    with pytest.raises(LinkError, match="refused") as caught:
        round_cli._ended("here:1", opened(), 1.0)
    assert caught.value.reason is Reason.UNREACHABLE
