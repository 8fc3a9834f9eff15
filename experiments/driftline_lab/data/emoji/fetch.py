"""Fetches the packages through npm, and keeps only files whose digest is the one fixed here."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from driftline_lab.data.emoji.packages import Package
from driftline_shared.errors import ConfigError, DataError, LinkError, MissingPackageError

MAX_PACKAGE_BYTES = 16 * 1024 * 1024
NPM_TIMEOUT_S = 300.0

_KEY_WORDS = 4
"""`npm error code ECONNREFUSED`: a line of a key has so many."""

Pack = Callable[[Package, Path], None]
"""Writes the package's file into a folder."""


def npm_pack(package: Package, folder: Path) -> None:
    """`npm pack`, from the registry that npm is set up for. Raises LinkError when it fails."""
    npm = shutil.which("npm")
    if npm is None:
        raise MissingPackageError(
            "npm is not installed", f"Install Node.js, or {_elsewhere(package)}."
        )
    words = [npm, "pack", "--loglevel=error", package.spec, "--pack-destination", str(folder)]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LinkError(
            f"npm pack {package.spec} took over {NPM_TIMEOUT_S:.0f} s", fix=_reach(package)
        ) from error
    if done.returncode != 0:
        raise LinkError(
            f"npm pack {package.spec} failed: {cause(done.stderr)}", fix=_reach(package)
        )


def cause(said: str) -> str:
    """What npm says went wrong: its first line that is a sentence, not a code by its key."""
    lines = [line.strip() for line in said.splitlines()]
    sentences = (line for line in lines if len(line.split()) > _KEY_WORDS)
    return next(sentences, lines[0] if lines else "no message")


def _reach(package: Package) -> str:
    return f"See that npm's registry is reached (`npm ping`), or {_elsewhere(package)}."


def _elsewhere(package: Package) -> str:
    return f"run `npm pack {package.spec}` elsewhere and name its folder with --from"


def copied_from(source: Path) -> Pack:
    """Takes the files out of a folder instead, where `npm pack` wrote them before."""

    def copy(package: Package, folder: Path) -> None:
        try:
            shutil.copyfile(source / package.file, folder / package.file)
        except OSError as error:
            raise ConfigError(
                f"cannot read {source / package.file}: {error.strerror or error}",
                fix=f"`npm pack {package.spec}` writes it.",
            ) from error

    return copy


def fetch_packages(
    packages: Iterable[Package],
    folder: Path,
    pack: Pack = npm_pack,
    told: Callable[[str], None] = lambda line: None,
) -> None:
    """Puts the packages' files into `folder`; one that is there and whole is not fetched again, so
    a fetch that was stopped goes on with the next. `told` gets a line for each.

    Raises DataError for a file that is not the one fixed here, what `pack` raises where one cannot
    be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        place = folder / package.file
        if place.is_file() and digest(place) == package.sha512:
            told(f"{package.spec}: is there")
            continue
        told(f"{package.spec}: fetching …")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
            pack(package, Path(scratch))
            written = Path(scratch) / package.file
            if not written.is_file() or digest(written) != package.sha512:
                raise DataError(
                    f"{package.spec}: what was fetched is not the file whose sha512 is fixed in "
                    "driftline_lab.data.emoji.packages",
                    fix="Fetch again, from another registry if it stays so.",
                )
            written.replace(place)
        told(f"{package.spec}: fetched, {place.stat().st_size / 1e6:.1f} MB, {package.licence}")


def digest(file: Path) -> str:
    """The sha512 of a file in base64; empty for one that is too large to be a package."""
    if file.stat().st_size > MAX_PACKAGE_BYTES:
        return ""
    return base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode("ascii")
