"""The packages that hold the drawings: versions, digests and licences are fixed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import platformdirs


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A set of icons. `sha512`: of the file that `npm pack` writes, in base64 as npm prints it."""

    name: str
    version: str
    sha512: str
    by: str
    licence: str

    @property
    def spec(self) -> str:
        """What `npm pack` takes."""
        return f"{self.name}@{self.version}"

    @property
    def file(self) -> str:
        """The file that `npm pack` writes."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES: Mapping[str, Package] = MappingProxyType(
    {
        "twemoji": Package(
            name="@iconify-json/twemoji",
            version="1.2.5",
            sha512="uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/"
            "mvgALsw==",
            by="Twitter, Inc. and other contributors",
            licence="CC BY 4.0",
        ),
        "noto": Package(
            name="@iconify-json/noto",
            version="1.2.9",
            sha512="DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYe"
            "ZVAuaw==",
            by="Google Inc",
            licence="Apache-2.0",
        ),
        "fluent": Package(
            name="@iconify-json/fluent-emoji-flat",
            version="1.2.6",
            sha512="RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4"
            "fRXlUw==",
            by="Microsoft Corporation",
            licence="MIT",
        ),
        "contrast": Package(
            name="@iconify-json/fluent-emoji-high-contrast",
            version="1.2.6",
            sha512="esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq"
            "1byX5w==",
            by="Microsoft Corporation",
            licence="MIT",
        ),
    }
)
"""By the name of the domain that shows them."""


def packages_folder() -> Path:
    """Where the packages lie: a folder of the user's cache, moved by XDG_CACHE_HOME."""
    return Path(platformdirs.user_cache_path("driftline", appauthor=False)) / "emoji"
