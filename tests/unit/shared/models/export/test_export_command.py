"""`driftline models export`: what it says, writes and refuses."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.signing.ceremony import make_signing, newest_root
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.cli import app
from driftline_shared.models.export.families.table import FAMILIES
from driftline_shared.models.export.pair_export import export_pair
from driftline_shared.pair.export_file import check_files, load_export
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.pair.update_root import pair_root


def test_it_exports_and_tells_sizes_and_agreement(pair_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    words = ["export", str(pair_dir), "--out", str(out)]
    root = tmp_path / "root.json"
    root.write_bytes(_root(tmp_path))
    result = CliRunner().invoke(app, [*words, "--update-root", str(root), "--json"])
    assert result.exit_code == 0, result.output
    assert pair_root(out) == root.read_bytes()
    told = json.loads(result.stdout)
    assert set(told["precisions"]) == {"fp32", "int8", "int4"}
    assert told["precisions"]["fp32"]["agreement"] == 1.0
    export = load_export(out)
    assert told["num_bytes"] == sum(entry.num_bytes for entry in export.files.values())
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, ConfigError)
    assert "--force" in str(again.exception)
    forced = CliRunner().invoke(app, [*words, "--force"])
    assert forced.exit_code == 0, forced.output
    assert "probe answers are the student's" in forced.stdout
    assert pair_root(out) is None
    check_files(out, load_export(out))


def test_a_root_that_is_none_is_refused_before_anything_is_made(
    pair_dir: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root.json"
    root.write_bytes(_root(tmp_path).replace(b'"version":1', b'"version":2'))
    words = ["export", str(pair_dir), "--out", str(tmp_path / "out"), "--update-root"]
    for file, said in ((root, "signed by"), (tmp_path / "none", "it is not there")):
        refused = CliRunner().invoke(app, [*words, str(file)]).exception
        assert isinstance(refused, ConfigError) and said in str(refused)
    assert not (tmp_path / "out").exists()


def _root(folder: Path) -> bytes:
    """Of a cloud that signs updates."""
    make_signing(folder / "cloud", now_s=time.time(), timestamp_days=1)
    return newest_root(folder / "cloud")[1]


def test_without_a_probe_set_the_tower_stays_as_it_is(pair_dir: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(pair_dir, bare, ignore=shutil.ignore_patterns("probe"))
    made = export_pair(load_pair(bare), tmp_path / "out", report=lambda _: None)
    assert "no probe pictures" in made.tower
    assert made.num_checked == 0
    assert not made.agreement
    assert {one.tower for one in made.export.precisions.values()} == {"tower.fp32.onnx"}
    assert load_pair(tmp_path / "out").base_model == load_pair(bare).base_model


def test_an_export_is_not_exported(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PairError, match="is an export"):
        export_pair(load_pair(folder), tmp_path / "out", report=lambda _: None)


def test_a_family_without_graphs_is_refused(
    pair_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(FAMILIES, "llava")
    with pytest.raises(PairError, match=r"'llava'.*runtime = \"torch\""):
        export_pair(load_pair(pair_dir), tmp_path / "out", report=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_broken_copy_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    graph = copy / "lm.int4.onnx"
    spoilt = bytearray(graph.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    graph.write_bytes(bytes(spoilt))
    with pytest.raises(PairError, match=r"lm\.int4\.onnx is not the file that was exported"):
        check_files(copy, load_export(copy))
    graph.unlink()
    with pytest.raises(PairError, match=r"lm\.int4\.onnx is missing; copy the export again"):
        load_export(copy)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 1}, "format"),
        ({"more": 1}, "more"),
        ({"precisions": {}}, "precisions"),
        ({"files": {"../../etc/passwd": {"sha256": "0" * 64, "num_bytes": 1}}}, "files"),
    ],
)
def test_a_wrong_export_json_is_refused(
    folder: Path, pair: Pair, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    table = json.loads((folder / "export.json").read_text())
    (tmp_path / "export.json").write_text(json.dumps(table | change))
    with pytest.raises(PairError, match=rf"{told}.*export the pair again"):
        load_export(tmp_path)
