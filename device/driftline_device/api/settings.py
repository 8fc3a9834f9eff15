"""Settings of the local API, and the keys that open it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import SecretStr, model_validator

from driftline_device.api.holders import Holder, Holders, check_token, read_holders
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import read_bytes
from driftline_shared.host.loopback import is_loopback
from driftline_shared.plain_text import visible
from driftline_shared.program.section import Section, setting

MAX_TOKEN_FILE_BYTES = 4 << 10


class ApiConfig(Section):
    """The local API. Off loopback a token is needed."""

    host: str = setting(
        "127.0.0.1", "address of the [local API](api.md); off loopback it needs a token"
    )
    port: int = setting(0, "0: none", ge=0, le=65_535)
    token: SecretStr = setting(
        SecretStr(""),
        "bearer token, 16 characters or more; empty: none is asked for. A file is better: this "
        "stands in the configuration",
        live=True,
    )
    token_file: Path | None = setting(
        None, "a file whose first line is the token; wins over `api.token`", live=True
    )
    keys_file: Path | None = setting(
        None,
        "a file of [keys with scopes and limits](api.md#who-may-ask); the token opens everything",
        live=True,
    )
    model_names: tuple[str, ...] = setting(
        ("*",),
        "names of models that are answered beside the pair's own; `*`: any, as llama.cpp's"
        " server does",
    )
    system_message: Literal["left_out", "before_question"] = setting(
        "left_out",
        "what becomes of system messages; pairs are trained on bare questions, and one in front of "
        "them costs right answers: `left_out`, `before_question`",
    )
    history_chars: int = setting(
        240,
        "characters of earlier turns that are put before a question, the newest first; 0: none",
        ge=0,
        le=4_096,
    )
    several_pictures: Literal["last", "refuse"] = setting(
        "last", "of a question with several pictures: take the `last`, or `refuse` it"
    )
    cors_origins: tuple[str, ...] = setting(
        (), "origins whose web pages may ask, like `http://localhost:3000`; `*`: all. Empty: none"
    )
    access_log: bool = setting(True, "a line of the log for each request, at a limited rate")
    max_waiting: int = setting(
        8, "requests that may wait for the one being answered; more get 429", ge=0, le=256
    )
    max_body_bytes: int = setting(
        16 << 20, "of one request; larger ones get 413", ge=1 << 10, le=256 << 20
    )
    body_timeout_s: float = setting(
        30.0, "for a request's body to arrive, at most; later ones get 408", gt=0
    )
    body_bytes_per_s: float = setting(
        10_000.0,
        "a body has 3 s and one more for each so many bytes that came; slower ones get 408",
        gt=0,
    )
    header_timeout_s: float = setting(
        10.0, "for a request's header to arrive; later ones get 408", gt=0
    )
    max_connections: int = setting(
        0,
        "open connections; past it, the one that has waited longest without a request is closed. "
        "0: half of the files that the process may open, 512 at most",
        ge=0,
        le=65_535,
    )

    @model_validator(mode="after")
    def _closed_off_loopback(self) -> ApiConfig:
        secret = self.token.get_secret_value()
        files = (self.token_file, self.keys_file)
        if self.port and not is_loopback(self.host) and not secret and files == (None, None):
            raise ValueError(
                f"host {self.host} can be reached from other machines: set api.token_file, or "
                "api.keys_file, or api.host = 127.0.0.1"
            )
        if secret:
            check_token(secret, "token")
        return self

    def holders(self) -> Holders:
        """Whoever has a key; nobody where none is asked for. Raises ConfigError."""
        found = {} if self.keys_file is None else read_holders(self.keys_file)
        if secret := self.secret():
            if (known := found.get(secret)) is not None:
                raise ConfigError(
                    f"api.token is the token of [{visible(known.name)}] in api.keys_file, too, and "
                    "would open everything to who holds it",
                    fix="Give the key a token of its own.",
                )
            found[secret] = Holder(name="token")
        return Holders(found)

    def secret_files(self) -> dict[str, Path]:
        """The files that hold tokens, by setting."""
        files = {"api.token_file": self.token_file, "api.keys_file": self.keys_file}
        return {name: path for name, path in files.items() if path is not None}

    def secret(self) -> str:
        """The bearer token, empty where none is asked for. Raises ConfigError."""
        if self.token_file is None:
            return self.token.get_secret_value()
        try:
            data = read_bytes(self.token_file, MAX_TOKEN_FILE_BYTES)
            lines = (data or b"").decode("ascii").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"api.token_file: {self.token_file} cannot be read: {error}"
            ) from None
        secret = lines[0].strip() if lines else ""
        try:
            check_token(secret, f"token_file: the first line of {self.token_file}")
        except ValueError as error:
            raise ConfigError(f"api.{error}") from None
        return secret
