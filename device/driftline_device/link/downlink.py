"""Updates down: what is new, its bytes with resume, and how it went.

A download is one file, `<digest>.part`, in the folder of downloads. Bytes are only ever added at
its end, chunk by chunk, each with its crc32 checked; the sha256 of the whole decides. A kill or a
power cut leaves a shorter or a damaged file: the first is resumed, the second is found by the
digest and fetched anew. A finished file stays until another blob is fetched, so a device that stops
before it has applied an update does not pay for it twice.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import grpc
import structlog

from driftline_device.link.counters import Counters
from driftline_device.link.questions import Questions
from driftline_device.link.settings import LinkSettings
from driftline_proto.v1 import downlink_pb2_grpc
from driftline_shared.bounds import check_digest
from driftline_shared.errors import LinkError, Reason, UpdateError
from driftline_shared.host.clock import Clock
from driftline_shared.retry import delays
from driftline_shared.rpc.errors import as_link_error, link_errors
from driftline_shared.signing.bundle import SignedBundle, SignedState
from driftline_shared.status import BlobRequest, UpdateQuery, UpdateReport
from driftline_shared.update import MANIFEST_FORMAT, MAX_RAW_BYTES, Manifest
from driftline_shared.wire import (
    from_chunk,
    from_manifest,
    to_blob_request,
    to_report,
    to_update_query,
    unpack_signed,
)

_log = structlog.get_logger(__name__)

MOST_ASK_AFTER_S = 3_600
"""A cloud that says more is not obeyed: a device that asks nobody learns nothing."""


class MetadataTaker(Protocol):
    """Takes what comes of signed metadata; whether a manifest is one of it, the applier asks."""

    def held(self) -> SignedState:
        """What to tell the cloud at the beginning of a question."""

    def take(self, bundle: SignedBundle) -> None:
        """Believe what of `bundle` is to be believed; raises nothing."""

    def refuse(self, error: UpdateError) -> None:
        """What came cannot be read."""


class Downlink:
    """The calls of the downlink service; each ends by its own deadline, with `LinkError`."""

    def __init__(
        self,
        channel: grpc.Channel,
        device_id: Callable[[], str],
        folder: Path,
        settings: LinkSettings,
        counters: Counters,
        *,
        clock: Clock,
        rng: random.Random,
        stop: threading.Event,
        questions: Questions | None = None,
        signatures: MetadataTaker | None = None,
    ) -> None:
        """`questions`: counts what is asked; None: without a bound. `signatures`: takes the signed
        metadata; None: this device asks for none.
        """
        self._signatures = signatures
        self._questions = questions or Questions(None, counters)
        self._channel = channel
        self._device_id = device_id
        self._folder = folder
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._rng = rng
        self._stop = stop
        self._lock = threading.Lock()
        self.ask_after_s = 0.0
        """As the cloud said last: seconds until it wants to be asked again."""

    @property
    def _stub(self) -> downlink_pb2_grpc.DownlinkStub:
        """Made anew each time: the channel may lead elsewhere than before."""
        return downlink_pb2_grpc.DownlinkStub(self._channel)

    def check(
        self, *, base_model: str, adapter_version: int, failed_versions: Sequence[int]
    ) -> Manifest | None:
        """What the cloud offers, if anything; `UpdateError` if its manifest is malformed."""
        query = UpdateQuery(
            device_id=self._device_id(),
            base_model=base_model,
            adapter_version=adapter_version,
            failed_versions=tuple(failed_versions),
            manifest_format=MANIFEST_FORMAT,
            signed=None if self._signatures is None else self._signatures.held(),
        )
        message = to_update_query(query)
        if not self._questions.has_room(message.ByteSize()):
            return None
        with self._questions.asked(message.ByteSize()), link_errors():
            reply = self._stub.Check(message, timeout=self._settings.call_timeout_s)
        self._counters.add(bytes_down=reply.ByteSize())
        self.ask_after_s = float(min(reply.ask_after_s, MOST_ASK_AFTER_S))
        if self._signatures is not None and reply.signed:
            try:
                self._signatures.take(unpack_signed(reply.signed, reply.signed_bytes))
            except UpdateError as error:
                self._signatures.refuse(error)
        if not reply.HasField("manifest"):
            return None
        self._counters.add(update_bytes=reply.ByteSize())
        return from_manifest(reply.manifest)

    def report(self, report: UpdateReport) -> None:
        """Report how an update went; LinkError (message_invalid) for what cannot be sent at all."""
        try:
            message = to_report(self._device_id(), report)
        except ValueError as error:
            raise LinkError(str(error), reason=Reason.MESSAGE_INVALID) from error
        with link_errors():
            self._stub.Report(message, timeout=self._settings.call_timeout_s)

    # -- download ---------------------------------------------------------------------------------

    def fetch(self, digest: bytes, num_bytes: int) -> bytes:
        """The blob of `num_bytes` whose sha256 is `digest`.

        Every stream that brings something renews the tries; `LinkError` when they run out or the
        link stops (what came stays for the next time), `UpdateError` (digest_mismatch) if whole
        bytes are the wrong ones, `OSError` if the disk takes no more.
        """
        check_digest(digest)
        if not 1 <= num_bytes <= MAX_RAW_BYTES:
            raise UpdateError(f"a blob of {num_bytes} bytes", reason=Reason.MANIFEST_INVALID)
        with self._lock:
            path = self._prepare(digest)
            resumed = _size(path) > 0
            blob = self._complete(path, digest, num_bytes)
            if blob is None and resumed:
                # What lay here from before may have been damaged by a power cut: once more, afresh.
                _log.warning("download.restarted", digest=digest.hex())
                blob = self._complete(path, digest, num_bytes)
            if blob is None:
                raise UpdateError(
                    f"the {num_bytes} bytes that came are not {digest.hex()}",
                    reason=Reason.DIGEST_MISMATCH,
                )
            return blob

    def _prepare(self, digest: bytes) -> Path:
        """The file of this download; those of others are removed, so they never pile up."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{digest.hex()}.part"
        for other in self._folder.glob("*.part"):
            if other != path:
                other.unlink(missing_ok=True)
        return path

    def _complete(self, path: Path, digest: bytes, num_bytes: int) -> bytes | None:
        """The whole blob; None, and no file, if its digest is wrong."""
        waits = delays(self._settings.backoff, self._rng)
        num_tries = 0
        while (size := _size(path)) < num_bytes:
            try:
                self._stream(path, digest, size, num_bytes)
                continue
            except (LinkError, UpdateError) as error:
                problem = error
            if problem.reason is Reason.OFFSET_INVALID:
                path.unlink(missing_ok=True)
            elif problem.reason in _FINAL:
                raise problem
            if _size(path) > size:
                num_tries, waits = 0, delays(self._settings.backoff, self._rng)
            num_tries += 1
            _log.info(
                "download.broken", digest=digest.hex(), have_bytes=_size(path),
                num_bytes=num_bytes, num_tries=num_tries, error=str(problem),
            )  # fmt: skip
            if num_tries >= self._settings.fetch_tries:
                raise LinkError(f"gave up after {num_tries} tries: {problem}") from problem
            if self._clock.wait(self._stop, next(waits)):
                raise LinkError("the device stops")
        return _read_if_right(path, digest, num_bytes)

    def _stream(self, path: Path, digest: bytes, offset: int, num_bytes: int) -> None:
        """Add what one stream brings; raises unless the file is complete afterwards."""
        request = BlobRequest(device_id=self._device_id(), digest=digest, offset=offset)
        with link_errors():
            call = self._stub.Fetch(
                to_blob_request(request), timeout=self._settings.fetch_timeout_s
            )
        try:
            with path.open("ab") as file:
                for message in call:
                    if self._stop.is_set():
                        raise LinkError("the device stops")
                    self._counters.add(
                        bytes_down=message.ByteSize(), update_bytes=message.ByteSize()
                    )
                    chunk = from_chunk(message)
                    if chunk.offset != offset or offset + len(chunk.data) > num_bytes:
                        raise LinkError(
                            f"chunk at {chunk.offset} does not follow {offset} of {num_bytes}"
                        )
                    file.write(chunk.data)
                    offset += len(chunk.data)
        except grpc.RpcError as error:
            raise as_link_error(error) from error
        finally:
            call.cancel()
        if offset < num_bytes:
            raise LinkError(f"the stream ended at {offset} of {num_bytes} bytes")


_FINAL = frozenset({Reason.BLOB_UNKNOWN, Reason.UNKNOWN_DEVICE, Reason.MESSAGE_INVALID})


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_if_right(path: Path, digest: bytes, num_bytes: int) -> bytes | None:
    """The file's bytes if size and digest are right; else the file is removed."""
    if _size(path) == num_bytes:
        blob = path.read_bytes()
        if hashlib.sha256(blob).digest() == digest:
            return blob
    path.unlink(missing_ok=True)
    return None
