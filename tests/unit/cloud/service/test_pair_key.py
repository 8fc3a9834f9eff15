"""A cloud that asks for signed pairs serves no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_cloud.config import load_config
from driftline_cloud.doctor.machine import check_pair
from driftline_cloud.service.assembly import assemble_service
from driftline_cloud.state import StateFolder
from driftline_shared.errors import PairError, Reason
from driftline_shared.pair.signed import sign_pair
from driftline_shared.signing.folders.keys import make_key
from tests.fakes.cloud import ReckoningWorkers, bare_pair, fake_makers


def test_a_pair_without_the_signature_is_not_served(tmp_path: Path) -> None:
    key = make_key(tmp_path / "k")
    pair, state = str(bare_pair(tmp_path / "pair").dir), tmp_path / "state"
    state.mkdir()
    config = load_config(None, {"state": state, "pair": pair, "pair_key": key.id}, environment={})
    makers = fake_makers(ReckoningWorkers())
    with pytest.raises(PairError, match="is not signed") as caught:
        assemble_service(config, StateFolder(state), makers)
    assert caught.value.reason is Reason.PAIR_UNTRUSTED
    assert check_pair(pair, key.id).verdict == "fail"
    sign_pair(pair, key)
    assert f"signed by {key.id[:16]}" in check_pair(pair, str(tmp_path / "k.pub")).found
    cloud = assemble_service(config, StateFolder(state), makers)
    cloud.close()
    other = str(bare_pair(tmp_path / "other").dir)
    words = ["line", "add", other, "--state", str(state), "--json"]
    asked = {"DRIFTLINE_CLOUD_PAIR_KEY": key.id}
    refused = CliRunner().invoke(app, words, env=asked).exception
    assert isinstance(refused, PairError) and "is not signed" in str(refused)
