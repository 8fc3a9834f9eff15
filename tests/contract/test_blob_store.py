"""What a place for blobs promises: a folder, an object store, both together, S3."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.blobs.mirrored import MirroredStore
from driftline_cloud.blobs.remote import FIRST_LINE, RemoteStore, open_remote
from driftline_cloud.blobs.store import BlobDamagedError, BlobStore, StoreAwayError
from driftline_shared.errors import ConfigError, DataError
from tests.fakes.object_store import FakeS3, running_s3

_numbers = itertools.count()


def in_memory() -> str:
    return f"memory://test-{next(_numbers)}"


@pytest.fixture(scope="module")
def s3() -> Iterator[FakeS3]:
    with running_s3() as store:
        yield store


@pytest.fixture(params=["folder", "memory", "mirrored", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "blobs")
    if request.param == "memory":
        return open_remote(in_memory(), owner="cloud-1")
    if request.param == "mirrored":
        return MirroredStore(FolderStore(tmp_path / "near"), open_remote(in_memory()))
    s3: FakeS3 = request.getfixturevalue("s3")
    return open_remote(f"{s3.url}/{next(_numbers)}", owner="cloud-1")


def test_what_was_put_is_there_and_replaced_and_gone(store: BlobStore) -> None:
    assert store.get("a/one") is None and store.size("a/one") is None
    assert store.read("a/one", 0, 9) is None
    assert list(store.list()) == []
    store.put("a/one", b"first")
    store.put("a/one", b"second")
    store.put("b", b"")
    assert store.get("a/one") == b"second" and store.get("b") == b""
    assert store.size("a/one") == 6 and store.size("b") == 0
    store.delete("a/one")
    store.delete("a/one")
    assert store.get("a/one") is None
    assert list(store.list()) == ["b"]


def test_pieces_are_read_by_offset(store: BlobStore) -> None:
    content = bytes(range(256)) * 8
    store.put("one", content)
    pieces = [store.read("one", start, 300) for start in range(0, len(content) + 1, 300)]
    assert b"".join(one or b"" for one in pieces) == content
    assert store.read("one", len(content), 300) == b""


def test_keys_are_listed_below_a_folder_and_seen_from_within(store: BlobStore) -> None:
    for key in ("r1/b", "r1/a", "r10/a", "r2/deep/a", "top"):
        store.put(key, key.encode())
    assert list(store.list()) == ["r1/a", "r1/b", "r10/a", "r2/deep/a", "top"]
    assert list(store.list("r1")) == ["r1/a", "r1/b"]
    inside = store.within("r2")
    assert list(inside.list()) == ["deep/a"]
    assert inside.get("deep/a") == b"r2/deep/a"
    inside.put("more", b"1")
    assert store.get("r2/more") == b"1"


@pytest.mark.parametrize("key", ["", "../x", "a//b", "/a", ".hidden", "a/.b", "a b", "x" * 300])
def test_what_can_name_no_blob_is_refused(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="cannot name a blob"):
        store.put(key, b"1") if key else store.within(key)


def test_a_size_is_bounded_before_it_is_read(store: BlobStore) -> None:
    store.put("one", b"x" * 1_000)
    assert store.get("one", 1_000) == b"x" * 1_000
    with pytest.raises(DataError, match="more than 999 bytes"):
        store.get("one", 999)


def test_a_digest_is_looked_at(store: BlobStore) -> None:
    store.put("one", b"content")
    assert store.get("one", sha256=hashlib.sha256(b"content").digest()) == b"content"
    with pytest.raises(BlobDamagedError):
        store.get("one", sha256=hashlib.sha256(b"other").digest())


def test_a_reader_sees_the_old_blob_or_the_new_one(store: BlobStore) -> None:
    whole = {bytes([number]) * 200_000 for number in range(8)}
    store.put("one", min(whole))
    halt, seen, errors = threading.Event(), set(), []

    def read() -> None:
        try:
            while not halt.is_set():
                seen.add(store.get("one"))
        except Exception as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for content in sorted(whole):
        store.put("one", content)
    halt.set()
    reader.join()
    assert not errors and seen <= whole


# -- what only some forms promise ------------------------------------------------------------------


def _raw(store: RemoteStore, key: str) -> tuple[object, str]:
    files, root = store.connection.open()
    return files, f"{root}/{key}"


@pytest.mark.parametrize(
    "spoil", [lambda one: one[:-1], lambda one: one[:-1] + b"?", lambda _: b"x"]
)
def test_an_object_that_is_not_what_was_put_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    store = open_remote(in_memory())
    store.put("one", b"content")
    files, path = _raw(store, "one")
    files.pipe_file(path, spoil(files.cat_file(path)))
    with pytest.raises(BlobDamagedError, match="one in memory"):
        store.get("one")


def test_a_store_is_one_clouds(tmp_path: Path) -> None:
    url = in_memory()
    open_remote(url, owner="cloud-1").put("one", b"1")
    with pytest.raises(ConfigError, match="another cloud"):
        open_remote(url, owner="cloud-2").get("one")
    assert open_remote(url, owner="cloud-1").get("one") == b"1"
    assert open_remote(url).within("x").list() == []  # who only looks claims nothing


def test_a_damaged_copy_at_hand_is_healed(tmp_path: Path) -> None:
    near, far = FolderStore(tmp_path), open_remote(in_memory())
    store = MirroredStore(near, far)
    store.put("one", b"content")
    digest = hashlib.sha256(b"content").digest()
    near.put("one", b"c0ntent")
    assert store.get("one", sha256=digest) == b"content"
    assert near.get("one") == b"content"
    near.delete("one")
    assert store.read("one", 3, 2) == b"te"
    assert near.get("one") == b"content"


def test_a_store_that_is_away_is_told_in_words_and_what_is_at_hand_is_read(
    s3: FakeS3, tmp_path: Path
) -> None:
    far = open_remote(f"{s3.url}/away", owner="cloud-1")
    store = MirroredStore(FolderStore(tmp_path), far)
    store.put("one", b"1")
    s3.stop()
    try:
        assert store.get("one") == b"1" and list(store.list()) == ["one"]
        for call in (
            lambda: store.put("one", b"2"),
            lambda: far.get("one"),
            lambda: far.list(),
            lambda: far.delete("one"),
            lambda: open_remote(f"{s3.url}/away", owner="cloud-1").get("one"),
        ):
            with pytest.raises(StoreAwayError, match=r"artifact store s3://.* is away"):
                call()
        assert store.get("one") == b"1"  # a put that failed changed nothing
    finally:
        s3.start()
    store.put("one", b"3")
    assert far.get("one") == store.get("one") == b"3"


def test_a_bucket_that_is_not_there_is_told(s3: FakeS3) -> None:
    with pytest.raises(StoreAwayError, match="is away"):
        open_remote("s3://nobody/x", owner="cloud-1").put("one", b"1")


def test_objects_in_a_store_begin_as_documented() -> None:
    store = open_remote(in_memory())
    store.put("one", b"content")
    files, path = _raw(store, "one")
    digest = hashlib.sha256(b"content").hexdigest().encode()
    assert files.cat_file(path) == FIRST_LINE + digest + b"\ncontent"
