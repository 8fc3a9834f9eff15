"""Tables of the settings of both programs, from the settings themselves."""

from __future__ import annotations

from driftline_cloud.config import CloudConfig
from driftline_device.config import DeviceConfig
from driftline_device.feeds.settings import FeedConfig
from driftline_device.sinks.settings import KINDS, SinkSettings
from driftline_device.watches.settings import WatchConfig
from driftline_lab.docs_tables.page import Page, Rows
from driftline_shared.program.section import entries


def cloud(_page: Page) -> Rows:
    """Every setting of the cloud and its meaning."""
    return _plain(CloudConfig)


def sinks(_page: Page) -> Rows:
    """Every setting of each kind of sink."""
    common = [name for name in SinkSettings.model_fields if name != "kind"]
    return [
        ["kind", "setting", "meaning"],
        *(["all", f"`{key}`", meaning] for key, meaning, _ in entries(SinkSettings)),
        *(
            [f"`{kind}`", f"`{key}`", meaning]
            for kind, settings in KINDS.items()
            for key, meaning, _ in entries(settings)
            if key not in [*common, "kind"]
        ),
    ]


def watches(_page: Page) -> Rows:
    """Every setting of a watch."""
    return _plain(WatchConfig)


def feeds(_page: Page) -> Rows:
    """Every setting of a feed."""
    return _plain(FeedConfig)


def _plain(section: type) -> Rows:
    return [["setting", "meaning"], *([f"`{key}`", text] for key, text, _ in entries(section))]


def device(_page: Page) -> Rows:
    """Every setting of a device, its meaning, and whether a reload takes it up."""
    return [
        ["setting", "meaning", ""],
        *(
            [f"`{key}`", meaning, "live" if live else ""]
            for key, meaning, live in entries(DeviceConfig)
        ),
    ]
