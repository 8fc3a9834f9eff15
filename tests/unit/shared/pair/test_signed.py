"""Signed pairs: the commands, what lies outside of the folder, and who asks for a signature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_shared.errors import PairError, Reason
from driftline_shared.models.cli import app
from driftline_shared.pair.pair_file import write_name
from driftline_shared.pair.signed import PREPARED, load_trusted, sign_pair, verify_pair
from driftline_shared.signing.folders import keys
from driftline_shared.signing.folders.keys import Trusted


def test_sign_and_verify_by_the_commands(copy: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    key, public = str(tmp_path / "pairs.key"), str(tmp_path / "pairs.key.pub")
    made = run(app, ["sign", str(copy), "--key", key, "--make-key", "--json"])
    told = json.loads(made.stdout)
    assert told["outside"] == [] and told["num_files"] > 10 and told["folder"] == str(copy)
    text = run(app, ["verify", str(copy), "--trust", told["key"]]).stdout
    assert f"is what was signed by {told['key']}" in text
    by_file = run(app, ["verify", str(copy), "--trust", public, "--json"])
    assert json.loads(by_file.stdout) == told
    (copy / "student" / "more.safetensors").touch()
    error = run(app, ["verify", str(copy), "--trust", public]).exception
    assert isinstance(error, PairError) and "student/more.safetensors was added" in str(error)
    again = run(app, ["sign", str(copy), "--key", key, "--json"])
    assert json.loads(again.stdout)["num_files"] == told["num_files"] + 1


def test_who_asks_for_a_signature_loads_nothing_without_it(copy: Path, tmp_path: Path) -> None:
    key = keys.make_key(tmp_path / "k")
    (copy / "pair.toml").rename(copy / "kept")
    (copy / "pair.toml").write_text("name = 3")  # would be refused in other words once it is read
    with pytest.raises(PairError) as caught:
        load_trusted(str(copy), key.id)
    assert caught.value.reason is Reason.PAIR_UNTRUSTED
    (copy / "kept").replace(copy / "pair.toml")
    sign_pair(str(copy), key)
    (copy / PREPARED).write_text("{}")
    assert load_trusted(str(copy), key.id).dir == copy
    write_name(copy / "pair.toml", "another")
    with pytest.raises(PairError, match=r"pair\.toml has \d+ bytes"):
        load_trusted(str(copy), str(tmp_path / "k.pub"))
    assert load_trusted(str(copy), "").name == "another"


def test_weights_outside_of_the_folder_are_refused_or_told(copy: Path, tmp_path: Path) -> None:
    key, file = keys.make_key(tmp_path / "k"), copy / "pair.toml"
    text = file.read_text()
    (copy / "teacher").rename(tmp_path / "teacher")

    def with_teacher(line: str) -> None:
        file.write_text(f"{text}\n[teacher]\n{line}\n")

    with_teacher('path = "../teacher"')
    with pytest.raises(PairError, match=r"teacher\.path leads out of the folder"):
        sign_pair(str(copy), key)
    with_teacher('id = "them/theirs"\nrevision = "v1"')
    with pytest.raises(PairError, match=r"teacher\.revision 'v1' can be moved"):
        sign_pair(str(copy), key)
    with_teacher(f'id = "them/theirs"\nrevision = "{"0" * 40}"')
    assert sign_pair(str(copy), key).outside == (f"teacher: them/theirs at {'0' * 40} on the hub",)
    assert len(verify_pair(str(copy), Trusted(id=key.id)).outside) == 1


def test_a_file_that_cannot_be_read_is_named(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keys.make_key(tmp_path / "k")
    sign_pair(str(copy), key)

    def vanished(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "p_ik.head")

    monkeypatch.setattr("driftline_shared.signing.folders.listing.digest_file", vanished)
    with pytest.raises(PairError, match=r"No such file or directory: p_ik\.head"):
        verify_pair(str(copy), Trusted(id=key.id))
