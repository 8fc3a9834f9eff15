"""Settings that a replay does not read: refused, so that nobody compares two runs that are one."""

from __future__ import annotations

from collections.abc import Mapping

from driftline_device.config import DeviceConfig
from driftline_device.updates.settings import UpdateSettings
from driftline_lab.replay.settings import ReplayOptions
from driftline_shared.errors import ConfigError
from driftline_shared.program.compressor import CompressorSettings

_OF_THE_REPLAY = "the replay keeps its state in a folder of its own and takes it away"
_NO_SERVER = "the replay serves nobody"

CLOUD_UNREAD: Mapping[str, str] = {
    "pair": "name it with --pair",
    "state": _OF_THE_REPLAY,
    "database_url": _OF_THE_REPLAY,
    "listen": _NO_SERVER,
    "metrics": _NO_SERVER,
    "log": _NO_SERVER,
    "drain_s": _NO_SERVER,
}
"""Keys of the cloud's settings, and why they would change nothing."""

DEVICE_READ = frozenset(
    {
        *("poll_s", "spool", "runtime", "compute", "threads", "precision", "providers"),
        "upload_from",
        *UpdateSettings.model_fields,
        *CompressorSettings.model_fields,
    }
)
"""Keys of the device's settings that reach a replay's device."""


def refuse_without_effect(options: ReplayOptions) -> None:
    """ConfigError for the first setting of cloud or device that the replay overrides or ignores."""
    for key in options.cloud_settings:
        root = key.partition(".")[0]
        if root in CLOUD_UNREAD:
            raise _unread("cloud", key, CLOUD_UNREAD[root])
        if root == "sampling" and options.policy is not None:
            raise _unread("cloud", key, "--policy is the whole sampling policy: set it there")
    for key in options.device_settings:
        root = key.partition(".")[0]
        if root == "pair":
            raise _unread("device", key, "name it with --pair")
        if root == "sampling":
            raise _unread("device", key, "the cloud gives the policy: name it with --policy")
        if root in DeviceConfig.model_fields and root not in DEVICE_READ:
            raise _unread(
                "device", key, f"a replay's device reads {', '.join(sorted(DEVICE_READ))}"
            )


def _unread(program: str, key: str, why: str) -> ConfigError:
    return ConfigError(f"--set-{program} {key} has no effect on a replay: {why}")
