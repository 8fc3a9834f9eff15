"""The cluster's token: a secret that every node and every driver has, in a file or the environment.

Ray refuses whoever has another one ("token authentication" in Ray's documents). The places are
those where Ray looks itself, in its order, so that `ray status` beside us finds the same token; a
file that is named to us comes before them.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from driftline_shared.errors import ConfigError

_log = structlog.get_logger(__name__)

IN_ENVIRONMENT = "RAY_AUTH_TOKEN"
"""Variable that holds a token."""

PATH_IN_ENVIRONMENT = "RAY_AUTH_TOKEN_PATH"
"""Variable that names a file with one."""

DEFAULT_FILE = Path(".ray/auth_token")
"""Below the home folder: where Ray looks last."""

MAX_BYTES = 4096
"""Most bytes of a token's file."""

FEWEST_CHARACTERS = 16
"""Of a token: shorter ones can be guessed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPlace:
    """Where the token is. `file`: None where the environment holds the token itself."""

    file: Path | None
    said_by: str

    def environment(self) -> dict[str, str | None]:
        """What Ray's processes need to find it; None: the variable is to be taken away."""
        if self.file is None:
            return {}
        return {IN_ENVIRONMENT: None, PATH_IN_ENVIRONMENT: str(self.file)}


def token_place(
    named: Path | None,
    environment: Mapping[str, str] = os.environ,
    home: Path | None = None,
) -> TokenPlace:
    """Where the token is, or would be: `named`, then what the environment says, then the default.

    Paths are made absolute: Ray's processes run in folders of their own.
    """
    if named is not None:
        return TokenPlace(file=named.expanduser().absolute(), said_by="--token-file")
    if environment.get(IN_ENVIRONMENT):
        return TokenPlace(file=None, said_by=IN_ENVIRONMENT)
    if path := environment.get(PATH_IN_ENVIRONMENT):
        return TokenPlace(file=Path(path).expanduser().absolute(), said_by=PATH_IN_ENVIRONMENT)
    return TokenPlace(file=(home or Path.home()) / DEFAULT_FILE, said_by="the default")


def read_token(place: TokenPlace, environment: Mapping[str, str] = os.environ) -> str:
    """The token. Raises ConfigError where there is none, and for what can be none."""
    if place.file is None:
        return _checked(environment.get(IN_ENVIRONMENT, ""), IN_ENVIRONMENT)
    try:
        with place.file.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        raise ConfigError(
            f"the cluster's token is not there: {place.file} ({place.said_by})",
            fix="Copy the file of the head's machine (`driftline cloud cluster token` prints what"
            f" is in it), or set {IN_ENVIRONMENT}.",
        ) from None
    except OSError as error:
        raise ConfigError(
            f"the cluster's token {place.file} cannot be read: {error.strerror}",
            fix="Name a file that this user can read (--token-file, workers.ray_token_file).",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and os.access(place.file, os.W_OK):
        # A secret that is mounted cannot be changed here: who may read it is decided outside.
        _log.warning("cluster.token_open", file=str(place.file), fix=f"chmod 600 {place.file}")
    try:
        return _checked(content.decode("ascii"), str(place.file))
    except UnicodeDecodeError:
        raise _wrong(str(place.file), "it is no ASCII text") from None


def make_token(place: TokenPlace, environment: Mapping[str, str] = os.environ) -> bool:
    """See that there is a token: write a new one, for this user alone, where there is none. Whether
    one was made. Raises ConfigError for one that is there and can be none.
    """
    if place.file is not None and not place.file.exists():
        try:
            place.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_new(place.file, secrets.token_hex(32))
        except FileExistsError:
            pass  # another node of this machine was first: its token is the token
        except OSError as error:
            raise ConfigError(
                f"the cluster's token cannot be written to {place.file}: {error.strerror}",
                fix="Name another file with --token-file.",
            ) from error
        else:
            return True
    read_token(place, environment)
    return False


def _write_new(path: Path, token: str) -> None:
    """The file with all of the token, or none: nodes that start together read it at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if len(text) > MAX_BYTES:
        raise _wrong(where, f"it has more than {MAX_BYTES} characters")
    if len(token) < FEWEST_CHARACTERS:
        raise _wrong(where, f"it has {len(token)} characters, {FEWEST_CHARACTERS} are the least")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise _wrong(where, "a blank or a sign that is not ASCII is in it")
    return token


def _wrong(where: str, problem: str) -> ConfigError:
    return ConfigError(
        f"the cluster's token in {where} is none: {problem}",
        fix="Copy the head's; `driftline cloud cluster up` makes one where there is none.",
    )
