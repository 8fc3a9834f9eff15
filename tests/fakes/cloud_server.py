"""A cloud that misbehaves on request: the other side of the link's tests, on a real gRPC server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from driftline_proto.v1 import (
    control_pb2,
    control_pb2_grpc,
    downlink_pb2,
    downlink_pb2_grpc,
    uplink_pb2,
    uplink_pb2_grpc,
)
from driftline_shared import wire
from driftline_shared.bounds import MAX_BATCH_BYTES
from driftline_shared.errors import DriftlineError, LinkError, Reason
from driftline_shared.status import (
    Chunk,
    Enrolment,
    SampleAck,
    SampleVerdict,
    UpdateQuery,
    UpdateReport,
    Welcome,
)
from driftline_shared.tokens import Sample, SamplingPolicy
from driftline_shared.update import Manifest

Judge = Callable[[Sample], SampleAck | None]


@dataclass(frozen=True, kw_only=True)
class PushPlan:
    """What one Push stream does. `break_after`, `mute_after`: samples stored before it happens.

    `break_after` aborts before the batch is acked, `mute_after` goes on reading and acks nothing,
    `judge` may answer a sample in its own way (None: store it), `ack_twice` repeats every ack,
    `strays` are acks for things nobody sent, `abort` ends the stream at once, `close` ends it
    after one batch as if all were well.
    """

    break_after: int | None = None
    mute_after: int | None = None
    judge: Judge | None = None
    ack_twice: bool = False
    strays: tuple[SampleAck, ...] = ()
    abort: Reason | None = None
    close: bool = False


@dataclass(frozen=True, kw_only=True)
class FetchPlan:
    """What one Fetch does; `*_at` count chunks of this stream from 0."""

    break_at: int | None = None
    corrupt_at: int | None = None
    end_at: int | None = None
    stall_at: int | None = None
    skip_at: int | None = None
    abort: Reason | None = None


class FakeCloud:
    """Its state outlives `stop` and `start`, which keep the port; `forget` resets it."""

    def __init__(self, *, chunk_bytes: int = 1_000) -> None:
        self.chunk_bytes = chunk_bytes
        self.port = 0
        self.policy = SamplingPolicy()
        self.manifest: Manifest | None = None
        self.ask_after_s = 0
        self.blobs: dict[bytes, bytes] = {}
        self.pushes: deque[PushPlan] = deque()
        self.fetches: deque[FetchPlan] = deque()
        self.report_errors: deque[Reason] = deque()
        self.enrol_errors: deque[Reason] = deque()
        self.lock = threading.Lock()
        self.num_enrolments = 0
        self.num_streams = 0
        self.max_batch_bytes = 0
        self.batches: list[bytes] = []
        self.fetch_offsets: list[int] = []
        self.queries: list[UpdateQuery] = []
        self.forget()
        self._server: grpc.Server | None = None
        self._stopping = threading.Event()

    def forget(self) -> None:
        """A cloud whose state was lost. `stored`: sample by id; `arrivals`: ids as they came."""
        self.devices: dict[str, Enrolment] = {}
        self.stored: dict[bytes, Sample] = {}
        self.arrivals: list[bytes] = []
        self.reports: list[tuple[str, UpdateReport]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> FakeCloud:
        self._stopping = threading.Event()
        server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
        control_pb2_grpc.add_ControlServicer_to_server(_Control(self), server)
        uplink_pb2_grpc.add_UplinkServicer_to_server(_Uplink(self), server)
        downlink_pb2_grpc.add_DownlinkServicer_to_server(_Downlink(self), server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._stopping.set()
            self._server.stop(grace=None).wait(5.0)
            self._server = None

    def __enter__(self) -> FakeCloud:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stall(self, context: Any) -> None:
        """Hold a call until its other side gives up."""
        ended = threading.Event()
        if context.add_callback(ended.set):
            while not (ended.wait(0.02) or self._stopping.is_set()):
                pass

    def take(self, body: bytes, plan: PushPlan) -> SampleAck:
        sample = wire.load_sample(body)
        if plan.judge is not None and (ack := plan.judge(sample)) is not None:
            return ack
        with self.lock:
            self.arrivals.append(sample.id)
            known = sample.id in self.stored
            self.stored.setdefault(sample.id, sample)
        verdict = SampleVerdict.DUPLICATE if known else SampleVerdict.STORED
        return SampleAck(id=sample.id, verdict=verdict)


def _abort(context: Any, reason: Reason) -> None:
    context.set_trailing_metadata(((wire.REASON_KEY, str(reason)),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"told to say {reason}")


class _Control(control_pb2_grpc.ControlServicer):
    def __init__(self, cloud: FakeCloud) -> None:
        self.cloud = cloud

    def Enrol(self, request: Any, context: Any) -> control_pb2.EnrolReply:  # noqa: N802
        self.cloud.num_enrolments += 1
        if self.cloud.enrol_errors:
            _abort(context, self.cloud.enrol_errors.popleft())
        enrolment = wire.from_enrolment(request)
        self.cloud.devices[enrolment.device_id] = enrolment
        return wire.to_welcome(Welcome(cloud_id="fake", policy=self.cloud.policy, newest_version=0))

    def GetPolicy(self, request: Any, context: Any) -> control_pb2.SamplingPolicy:  # noqa: N802
        if request.device_id not in self.cloud.devices:
            _abort(context, Reason.UNKNOWN_DEVICE)
        return wire.to_policy(self.cloud.policy)


class _Uplink(uplink_pb2_grpc.UplinkServicer):
    def __init__(self, cloud: FakeCloud) -> None:
        self.cloud = cloud

    def Push(self, request_iterator: Any, context: Any) -> Iterator[uplink_pb2.SampleAcks]:  # noqa: N802
        cloud = self.cloud
        cloud.num_streams += 1
        plan = cloud.pushes.popleft() if cloud.pushes else PushPlan()
        if plan.abort is not None:
            _abort(context, plan.abort)
        num_taken = 0
        for batch in request_iterator:
            if batch.device_id not in cloud.devices:
                _abort(context, Reason.UNKNOWN_DEVICE)
            cloud.max_batch_bytes = max(cloud.max_batch_bytes, batch.ByteSize())
            cloud.batches.append(batch.SerializeToString())
            if batch.ByteSize() > MAX_BATCH_BYTES:
                _abort(context, Reason.BATCH_TOO_LARGE)
            acks = []
            for body in batch.samples:
                acks.append(cloud.take(body, plan))
                num_taken += 1
                if plan.break_after is not None and num_taken >= plan.break_after:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "told to break")
            if plan.mute_after is not None and num_taken >= plan.mute_after:
                cloud.stall(context)
                return
            yield wire.to_acks([*plan.strays, *acks])
            if plan.ack_twice:
                yield wire.to_acks(acks)
            if plan.close:
                return


class _Downlink(downlink_pb2_grpc.DownlinkServicer):
    def __init__(self, cloud: FakeCloud) -> None:
        self.cloud = cloud

    def Check(self, request: Any, context: Any) -> downlink_pb2.CheckReply:  # noqa: N802
        query = wire.from_update_query(request)
        self.cloud.queries.append(query)
        if query.device_id not in self.cloud.devices:
            _abort(context, Reason.UNKNOWN_DEVICE)
        manifest = self.cloud.manifest
        return downlink_pb2.CheckReply(
            manifest=None if manifest is None else wire.to_manifest(manifest),
            ask_after_s=self.cloud.ask_after_s,
        )

    def Fetch(self, request: Any, context: Any) -> Iterator[downlink_pb2.Chunk]:  # noqa: N802
        cloud = self.cloud
        wanted = wire.from_blob_request(request)
        cloud.fetch_offsets.append(wanted.offset)
        plan = cloud.fetches.popleft() if cloud.fetches else FetchPlan()
        blob = cloud.blobs.get(wanted.digest)
        if plan.abort is not None:
            _abort(context, plan.abort)
        if blob is None:
            _abort(context, Reason.BLOB_UNKNOWN)
            return
        if wanted.offset > len(blob):
            _abort(context, Reason.OFFSET_INVALID)
        for number, offset in enumerate(range(wanted.offset, len(blob), cloud.chunk_bytes)):
            message = wire.to_chunk(
                Chunk(offset=offset, data=blob[offset : offset + cloud.chunk_bytes])
            )
            if number == plan.break_at:
                context.abort(grpc.StatusCode.UNAVAILABLE, "told to break")
            if number == plan.stall_at:
                cloud.stall(context)
                return
            if number == plan.end_at:
                return
            if number == plan.skip_at:
                continue
            if number == plan.corrupt_at:
                message.data = bytes([message.data[0] ^ 1]) + message.data[1:]
            yield message

    def Report(self, request: Any, context: Any) -> downlink_pb2.ReportReply:  # noqa: N802
        if self.cloud.report_errors:
            _abort(context, self.cloud.report_errors.popleft())
        try:
            device_id, report = wire.from_report(request)
        except DriftlineError as error:
            _abort(context, error.reason)
            raise LinkError("not reached") from error
        if device_id not in self.cloud.devices:
            _abort(context, Reason.UNKNOWN_DEVICE)
        self.cloud.reports.append((device_id, report))
        return downlink_pb2.ReportReply()
