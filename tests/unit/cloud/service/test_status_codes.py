"""Every reason has a status code, and no table entry lost its reason."""

from __future__ import annotations

import grpc
import pytest

from driftline_cloud.service.status_codes import STATUS_CODES
from driftline_shared.errors import Reason


def test_the_table_is_total_and_exact() -> None:
    assert set(STATUS_CODES) == set(Reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_an_error_is_never_ok(reason: Reason) -> None:
    code = STATUS_CODES[reason]
    assert isinstance(code, grpc.StatusCode)
    assert code not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
