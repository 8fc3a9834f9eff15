"""Each export, read back by what reads the format."""

from __future__ import annotations

import base64
import json
import tarfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pandas
import pyarrow.parquet as pq
import pytest
import yaml
from mcap.reader import make_reader

from driftline_lab.trace.export import huggingface, label_studio, mcap, webdataset
from driftline_lab.trace.export.table import EXPORTERS
from driftline_shared.errors import DataError
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.reader import Trace, open_trace
from driftline_shared.trace.writer import open_writer
from tests.fakes.traces import SUBJECT, answer_event

JPEG = b"\xff\xd8 no real picture \xff\xd9"


def events_of() -> list[TraceEvent]:
    """Thirty answers, every fourteenth with a picture, and an update."""
    answers = [
        answer_event(number, picture=JPEG if number % 14 == 0 else None, p_value=0.25)
        for number in range(30)
    ]
    update = TraceEvent(
        kind=EventKind.UPDATE, wall_unix_s=1_700_000_100.0, monotonic_s=60.0, verdict="applied",
        reason="applied", adapter_version=1,
    )  # fmt: skip
    return [*answers, update]


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    folder = tmp_path / "trace"
    with open_writer(folder, SUBJECT, licence='CC-BY-4.0 "as is"') as writer:
        writer.write_next(events_of()[:20])
        writer.roll()
        writer.write_next(events_of()[20:])
    return open_trace(folder)


def test_hugging_face_loads_parquet_and_reads_the_card(trace: Trace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert huggingface.export(trace, out) == 31
    files = sorted(path.name for path in (out / "data").iterdir())
    assert files == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    frame = pandas.read_parquet(out / "data")
    assert frame["sequence"].tolist() == list(range(31))
    assert frame["question"][3] == "what is number 3?"
    assert pq.read_schema(out / "data" / files[0]).names[-1] == "crc32"
    _, head, body = (out / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(head)
    (config,) = card["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert card["license_name"] == 'CC-BY-4.0 "as is"'
    assert card["size_categories"] == ["n<1K"]
    assert "| `kept` |" in body


def test_webdataset_shards_hold_one_sample_a_key(trace: Trace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert webdataset.export(trace, out, shard_events=12) == 31
    samples: dict[str, dict[str, bytes]] = defaultdict(dict)
    shards = sorted(out.iterdir())
    assert [path.name for path in shards] == [f"trace-{n:06d}.tar" for n in range(3)]
    for shard in shards:
        with tarfile.open(shard) as tar:
            for entry in tar:
                key, _, extension = entry.name.partition(".")
                file = tar.extractfile(entry)
                assert file is not None
                samples[key][extension] = file.read()
    assert list(samples) == [f"{n:012d}" for n in range(31)]
    sent, plain = samples["000000000014"], samples["000000000003"]
    assert set(sent) == {"json", "coded.bin", "jpg"}
    assert set(plain) == {"json"}
    assert sent["coded.bin"] == answer_event(14).coded
    assert json.loads(plain["json"])["scores"] == answer_event(3).scores


def test_webdataset_takes_a_clock_that_is_far_off(tmp_path: Path) -> None:
    with open_writer(tmp_path / "far", SUBJECT) as writer:
        writer.write_next([answer_event(1, wall_unix_s=time) for time in (-5.0, 9e9, 1e300)])
    assert webdataset.export(open_trace(tmp_path / "far"), tmp_path / "out") == 3
    with tarfile.open(tmp_path / "out" / "trace-000000.tar") as shard:
        times = {member.name[:12]: member.mtime for member in shard}
    assert list(times.values()) == [0, webdataset.MOST_MTIME, webdataset.MOST_MTIME]


def test_webdataset_gives_the_same_bytes_twice(trace: Trace, tmp_path: Path) -> None:
    for name in ("one", "two"):
        webdataset.export(trace, tmp_path / name)
    file = "trace-000000.tar"
    assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_mcap_is_read_by_its_own_reader(trace: Trace, tmp_path: Path) -> None:
    assert mcap.export(trace, tmp_path / "out") == 31
    found: dict[str, list[tuple[int, dict[str, object]]]] = defaultdict(list)
    with (tmp_path / "out" / mcap.FILE).open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        for schema, channel, message in reader.iter_messages():
            assert schema is not None
            assert schema.encoding == "jsonschema"
            json.loads(schema.data)
            found[channel.topic].append((message.log_time, json.loads(message.data)))
        (about,) = [one for one in reader.iter_metadata() if one.name == "driftline.manifest"]
        assert json.loads(about.metadata["manifest"])["subject"]["pair"] == "tiny"
    answers = found["/driftline/answer"]
    assert [values["sequence"] for _, values in answers] == list(range(30))
    assert answers[7][0] == 1_700_000_007_000_000_000
    assert base64.b64decode(str(answers[7][1]["coded"])) == answer_event(7).coded
    assert [values["verdict"] for _, values in found["/driftline/update"]] == ["applied"]
    pictures = [values for _, values in found[mcap.PICTURES]]
    assert [base64.b64decode(str(values["data"])) for values in pictures] == [JPEG] * 3


def test_mcap_refuses_a_time_it_cannot_hold(tmp_path: Path) -> None:
    with open_writer(tmp_path / "trace", SUBJECT) as writer:
        writer.write_next([answer_event(0, wall_unix_s=-5.0)])
    with pytest.raises(DataError, match="event 0: MCAP has no time"):
        mcap.export(open_trace(tmp_path / "trace"), tmp_path / "out")


def test_label_studio_tasks_carry_the_uncertainty(trace: Trace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert label_studio.export(trace, out) == 30
    tasks = json.loads((out / label_studio.TASKS).read_text())
    assert len(tasks) == 30
    for number, task in enumerate(tasks):
        assert task["data"]["uncertainty"] == answer_event(number).uncertainty
        (prediction,) = task["predictions"]
        assert prediction["result"][0]["value"] == {"text": ["red"]}
        assert prediction["score"] == 0.25
    head, _, data = tasks[14]["data"]["image"].partition(",")
    assert (head, base64.b64decode(data)) == ("data:image/jpeg;base64", JPEG)
    assert tasks[1]["data"]["image"] is None
    config = ElementTree.parse(out / label_studio.CONFIG)
    names = {node.get("name"): node.tag for node in config.iter() if node.get("name")}
    (result,) = tasks[0]["predictions"][0]["result"]
    assert names[result["from_name"]] == "TextArea"
    assert names[result["to_name"]] == "Text"
    used = {
        node.get("value", "").removeprefix("$")
        for node in config.iter()
        if "$" in node.get("value", "")
    }
    assert used <= set(tasks[0]["data"])


def test_label_studio_of_no_answers_is_an_empty_list(tmp_path: Path) -> None:
    with open_writer(tmp_path / "trace", SUBJECT):
        pass
    assert label_studio.export(open_trace(tmp_path / "trace"), tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / label_studio.TASKS).read_text()) == []


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_broken_part_is_not_exported(trace: Trace, tmp_path: Path, name: str) -> None:
    path = trace.path(trace.manifest.parts[1])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"part-000001"):
        EXPORTERS[name](trace, tmp_path / "out")


@pytest.mark.parametrize("name", ["webdataset", "mcap", "label-studio"])
def test_a_score_that_is_no_number_is_no_json(tmp_path: Path, name: str) -> None:
    with open_writer(tmp_path / "trace", SUBJECT) as writer:
        writer.write_next([answer_event(0), answer_event(1, scores={"margin": float("nan")})])
    with pytest.raises(DataError, match="event 1 cannot be JSON"):
        EXPORTERS[name](open_trace(tmp_path / "trace"), tmp_path / "out")
