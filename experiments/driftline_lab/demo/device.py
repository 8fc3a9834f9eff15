"""The demo's device: its settings, the pair it runs, and its runtime once more, to be scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from driftline_device.config import DeviceConfig, load_config
from driftline_device.program.assembly import runtime_for
from driftline_device.runtime.factory import precision_of
from driftline_device.runtime.runtime import Runtime
from driftline_device.updates.slots import Loaded, Slots
from driftline_lab.demo.options import DemoOptions
from driftline_lab.demo.settings import assigned, write_device_config
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.portable import checked_portable
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.program.config import parse_assignment
from driftline_shared.program.extras import needs_extra


@dataclass(frozen=True, kw_only=True)
class DemoDevice:
    """A device as `driftline device run ARGUMENTS` starts it.

    `config`: what it reads there. `pair`: what it runs: the demo's pair, or an export of it.
    """

    arguments: tuple[str, ...]
    config: DeviceConfig
    pair: Pair

    def runtime(self, version: Loaded | None) -> Runtime:
        """The runtime of the device, made of the device's own settings, under `version`.

        None is version 0. Raises ConfigError or PairError where the device could not start.
        """
        runtime = runtime_for(self.config, self.pair)
        if version is not None:
            runtime.swap(version.adapter, version.version, version.ik_head)
        return runtime

    @property
    def described(self) -> dict[str, str]:
        """What a result has to say of the device: `runtime`, `precision`, `compressor`."""
        return {
            "runtime": "torch" if self.pair.exported is None else "onnx",
            "precision": self.config.precision or precision_of(self.pair),
            "compressor": self.config.compressor,
        }

    def version_in_force(self) -> Loaded | None:
        """What the device ended with, read from its slots; None if it is still version 0."""
        slots = Slots(self.config.state / "slots")
        found = slots.pointer()
        if found.slot is None:
            return None
        return slots.load(found.slot, found.version, base_model=self.pair.base_model)


def prepare_device(
    options: DemoOptions, pair: Pair, *, report: Callable[[str], None] = lambda _: None
) -> DemoDevice:
    """Read the device's settings as the device will; export the pair if it is to run an export.

    Raises ConfigError for settings that no device runs with, or a device that runs another pair.
    """
    file = write_device_config(options)
    arguments = ["--config", str(file), *assigned(options.device_settings)]
    overrides = dict(parse_assignment(text) for text in options.device_settings)
    config = load_config(file, overrides)
    if config.runtime == "onnx" and config.compressor_choice is not None:
        checked_portable(config.compressor_choice)
    runs = load_pair(config.pair)
    if runs.base_model != pair.base_model:
        raise ConfigError(
            f"the device's pair {config.pair} is not {options.pair} nor an export of it, so the "
            "cloud has no updates for it: leave `pair` out of --set-device"
        )
    if config.runtime == "onnx" and runs.exported is None:
        folder = options.state / "export"
        with needs_extra("exporting the pair for runtime = 'onnx'", "export"):
            from driftline_shared.models.export.pair_export import export_pair

            report(f"exporting {pair.name} for ONNX Runtime …")
            choice = config.compressor_choice
            compressors = () if choice is None else (choice,)
            export_pair(pair, folder, force=True, compressors=compressors, report=report)
        arguments += ["--pair", str(folder)]
        config = load_config(file, {**overrides, "pair": str(folder)})
        runs = load_pair(folder)
    return DemoDevice(arguments=tuple(arguments), config=config, pair=runs)
