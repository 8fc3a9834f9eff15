"""`python -m driftline_cloud.workers.cluster.ray_command start ...`: Ray's own command, which an
address of loopback does not lead outside, and which ends with the process that started it.
"""

from __future__ import annotations

import functools
import os
import signal
import threading

from driftline_cloud.workers.cluster.access import loopback_kept
from driftline_shared.program.process import set_up_process


def main() -> None:
    """Run it with the arguments of this process; standard input is a pipe that its parent holds."""
    set_up_process()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from ray._private import services
    from ray._private.node import Node
    from ray.scripts.scripts import main as ray_main

    # A door for drivers without a node beside them: none of ours is one.
    Node.start_ray_client_server = _start_nothing
    # `node` looks whether the port is free by binding it. Ray looks for processes that were told of
    # the address: a node of the cluster before, on this machine, kept a lost head from coming back.
    services.find_gcs_addresses = _none_running

    with loopback_kept():
        ray_main()


@functools.cache  # Ray clears it
def _none_running() -> frozenset[str]:
    return frozenset()


def _start_nothing(_node: object) -> None:
    pass


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not `sys.stdin`: its lock would abort the interpreter's end
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
