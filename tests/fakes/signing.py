"""A cloud that signs the versions of a real registry, and an attacker who has what it has."""

from __future__ import annotations

import copy
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile
from tuf.api.serialization.json import JSONSerializer

from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import pack_exact
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.signing.ceremony import make_signing, rotate
from driftline_cloud.signing.files import SigningFiles
from driftline_cloud.signing.keys import read_signer
from driftline_cloud.signing.publish import Publisher
from driftline_cloud.signing.signing import Signing
from driftline_device.signatures.trusted import TrustedUpdates
from driftline_shared.signing.bundle import SignedBundle, SignedState
from driftline_shared.signing.versions import custom_of, target_of
from driftline_shared.update import Manifest
from driftline_shared.wire import pack_signed, unpack_signed
from tests.fakes.adapters import LINE, lora_adapter, trained

DAY_S = 86_400.0

FRESH = SignedState(root=1)
"""Of a device that was enrolled with a new cloud just now."""


@dataclass(kw_only=True)
class SigningCloud:
    """`ahead_s`: of the cloud's clock, by which it signs."""

    state: Path
    ahead_s: float = 0.0
    timestamp_days: float = 1.0
    registry: ReleaseRegistry = field(init=False)
    signing: Signing = field(init=False)

    def __post_init__(self) -> None:
        make_signing(self.state, now_s=self.now_s(), timestamp_days=self.timestamp_days)
        self.registry = ReleaseRegistry(self.state / "releases")
        self.registry.open_line(LINE, lora_adapter())
        self.start()

    def now_s(self) -> float:
        return time.time() + self.ahead_s

    def start(self, *, sign: bool = True) -> None:
        """As a process that serves does."""
        self.signing = Signing(
            self.state, self.registry, now_s=self.now_s, timestamp_days=self.timestamp_days
        )
        if sign:
            self.sign()

    def sign(self, line: str = LINE.id) -> None:
        newest = self.registry.newest_version(line)
        self.signing.ensure(line, newest=newest, settled=newest)

    def publish(self, *, sign: bool = True, head: bytes = b"") -> Manifest:
        """The next version."""
        base = self.registry.canonical(LINE.id, self.registry.newest_version(LINE.id))
        number = self.registry.newest_version(LINE.id) + 1
        packed = pack_exact(base, trained(base, number))
        lineage = Lineage(
            round_id=f"r{number}",
            num_samples=9,
            created_unix_s=1_800_000_000,
            gate={"agreement": 0.9312, "source_accuracy": 0.95},
            ik_head=head,
        )
        manifest = self.registry.publish(LINE.id, packed, lineage)
        if sign:
            self.sign()
        return manifest

    def name(self, version: int) -> Manifest:
        """What an attacker does who has every key: the newest version, under another number."""
        newest = self.registry.manifest(LINE.id, self.registry.newest_version(LINE.id))
        manifest = replace(newest, target_version=version)
        target = TargetFile(
            length=1,
            hashes={"sha256": manifest.target_digest.hex()},
            path=target_of(LINE.id, version),
            unrecognized_fields={"custom": custom_of(manifest)},
        )
        publisher = Publisher(
            files=SigningFiles(self.state), now_s=self.now_s(), timestamp_days=self.timestamp_days
        )
        publisher.publish({LINE.id: {target.path: target}})
        self.signing.step()
        return manifest

    def rotate(self) -> None:
        """New online keys, by the command's own function, while the cloud serves."""
        keys = SigningFiles(self.state).offline
        rotate(self.state, keys, now_s=self.now_s(), timestamp_days=self.timestamp_days)
        self.signing.step()
        self.sign()

    def bundle(self, held: SignedState = FRESH, line: str = LINE.id) -> SignedBundle:
        """All that who holds `held` lacks."""
        return self.signing.bundle(line, held) or SignedBundle(line=line)

    def copy(self, folder: Path, *, sign: bool = True) -> SigningCloud:
        """What an attacker with the keys has, or a backup."""
        shutil.copytree(self.state, folder)
        other = copy.copy(self)
        other.state = folder
        other.registry = ReleaseRegistry(folder / "releases")
        other.registry.know_line(LINE)
        other.start(sign=sign)
        return other

    def signer(self, role: str) -> CryptoSigner:
        return read_signer(SigningFiles(self.state).key(role))


def new_device(cloud: SigningCloud, state: Path, *, root: bytes | None = None) -> TrustedUpdates:
    """A device that was enrolled with `cloud` just now, or with `root`."""
    return TrustedUpdates(
        state, root or cloud.signing.root, base_model=LINE.base_model, now_s=time.time
    )


def ask(cloud: SigningCloud, device: TrustedUpdates, line: str = LINE.id) -> int:
    """One poll, as it travels; bytes down."""
    packed, num_bytes = cloud.signing.packed(line, device.held())
    if packed:
        device.take(unpack_signed(packed, num_bytes))
    return len(packed)


def bring(device: TrustedUpdates, bundle: SignedBundle) -> None:
    """One poll that an attacker answers."""
    device.held()
    device.take(unpack_signed(*pack_signed(bundle)))


def changed(data: bytes, *signers: CryptoSigner, **fields: Any) -> bytes:
    """Metadata with other `fields`, signed anew by `signers`; by nobody: its signatures stay."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    for name, value in fields.items():
        setattr(metadata.signed, name, value)
    for number, signer in enumerate(signers):
        metadata.sign(signer, append=number > 0)
    return metadata.to_bytes(JSONSerializer(compact=True))


def with_file(bundle: SignedBundle, **files: Any) -> SignedBundle:
    """The bundle with other files."""
    return replace(bundle, **files)
