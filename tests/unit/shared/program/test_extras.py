"""A package that is missing is told with the extra that holds it."""

from __future__ import annotations

import pytest

from driftline_shared.errors import ConfigError
from driftline_shared.program.extras import needs_extra


def test_a_missing_package_names_its_extra() -> None:
    with (
        pytest.raises(
            ConfigError, match=r"juggling needs no_such_package.*driftline\[camera\].*or"
        ),
        needs_extra("juggling", "camera", instead="or use both hands"),
    ):
        import no_such_package  # noqa: F401


def test_a_fault_of_ours_is_no_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError), needs_extra("juggling", "camera"):
        import driftline_shared.no_such_module  # noqa: F401


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="other"), needs_extra("juggling", "camera"):
        raise ValueError("other")
