"""The least that a server of the uplink can be: what a cloud's intake is compared with.

    python -m driftline_lab.peers.bare_cloud STATE_FOLDER

It listens on a free port of 127.0.0.1 and writes its number into `port` in the folder, as a cloud
does. It answers Push alone.

It does: parse each batch, and each sample in it for the id that the ack names; store device, id and
the bytes as they came in one table of a SQLite file, one transaction a batch, journal WAL and full
sync as the cloud's; acknowledge after the commit, one ack a sample. Parsing and storing are in one
thread, off the event loop.

It does not: know devices, check anything (bounds, token space, texts, tokens), look for duplicates,
keep an index by id, count, ask for quotas and rates, take turns between devices, put several
batches into one transaction, keep metrics, or send corrections.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc

from driftline_proto.v1 import uplink_pb2, uplink_pb2_grpc
from driftline_shared.bounds import MAX_BATCH_BYTES

Row = tuple[str, bytes, bytes]
"""Device, id of the sample, its bytes."""

FILE = "bare.sqlite"


class BareStore:
    """The table of a bare server, durable at each `add`."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS samples "
            "(sequence INTEGER PRIMARY KEY, device_id TEXT, id BLOB, body BLOB)"
        )

    def add(self, rows: Iterable[Row]) -> None:
        """Store `rows` in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT INTO samples (device_id, id, body) VALUES (?, ?, ?)", rows
        )
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()


class BareUplink(uplink_pb2_grpc.UplinkServicer):
    """Push, and nothing else."""

    def __init__(self, store: BareStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1)

    async def Push(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Until the device closes its side."""
        loop = asyncio.get_running_loop()
        while (batch := await context.read()) is not grpc.aio.EOF:
            await context.write(await loop.run_in_executor(self._thread, self._take, batch))

    def _take(self, batch: uplink_pb2.EncodedBatch) -> uplink_pb2.SampleAcks:
        ids = [uplink_pb2.Sample.FromString(body).id for body in batch.samples]
        self._store.add((batch.device_id, *row) for row in zip(ids, batch.samples, strict=True))
        stored = uplink_pb2.SAMPLE_VERDICT_STORED
        return uplink_pb2.SampleAcks(
            acks=[uplink_pb2.SampleAck(id=one, verdict=stored) for one in ids]
        )


async def serve(state: Path) -> None:
    """Until the process is killed."""
    with closing(BareStore(state / FILE)) as store:
        server = grpc.aio.server(
            options=(("grpc.max_receive_message_length", 4 * MAX_BATCH_BYTES),)
        )
        uplink_pb2_grpc.add_UplinkServicer_to_server(BareUplink(store), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        (state / "port").write_text(f"{port}\n", encoding="utf-8")
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
