"""A channel that is closed, or opened anew, while other threads begin their calls over it."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from driftline_device.link.channel import RenewableChannel, open_channel
from driftline_proto.v1 import control_pb2_grpc, downlink_pb2, downlink_pb2_grpc, uplink_pb2_grpc

ADDRESS = "127.0.0.1:1"


def test_once_it_is_closed_nobody_calls_over_it() -> None:
    channel = RenewableChannel(lambda: open_channel(ADDRESS))
    stub = downlink_pb2_grpc.DownlinkStub(channel)
    channel.close()
    channel.close()
    channel.renew()
    for make in (
        downlink_pb2_grpc.DownlinkStub,
        uplink_pb2_grpc.UplinkStub,
        control_pb2_grpc.ControlStub,
    ):
        with pytest.raises(ValueError, match="closed channel"):
            make(channel)
    with pytest.raises(ValueError, match="closed channel"):
        stub.Check(downlink_pb2.CheckRequest(), timeout=1.0)


def test_threads_that_begin_calls_survive_whoever_closes() -> None:
    """In a process of its own: what this guards against is the end of the process."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import hammer; hammer()"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def hammer() -> None:
    """Close channels under threads that make stubs of them."""
    for _ in range(40):
        channel = RenewableChannel(lambda: open_channel(ADDRESS))

        def use(channel: RenewableChannel = channel) -> None:
            try:
                while True:
                    downlink_pb2_grpc.DownlinkStub(channel)
            except ValueError:
                return

        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        channel.renew()
        channel.renew()
        channel.close()
        for thread in threads:
            thread.join()
