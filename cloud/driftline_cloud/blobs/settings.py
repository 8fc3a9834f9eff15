"""Where releases and the work of rounds are kept."""

from __future__ import annotations

from pydantic import field_validator

from driftline_shared.program.section import Section, setting

SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "memory")
"""Of stores that show an object only when it is whole."""


class StorageSettings(Section):
    """Files of the cloud beside its database."""

    artifacts: str = setting(
        "",
        "URL of an object store that releases and artifacts of rounds are kept in, such as "
        "s3://bucket/prefix; empty: the state folder",
    )

    @field_validator("artifacts")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        if value and (scheme not in SCHEMES or not rest.strip("/")):
            raise ValueError(f"is a URL: one of {', '.join(SCHEMES)}, ://, a bucket and a prefix")
        if "@" in rest or "?" in rest:
            raise ValueError("holds no credentials: they are for the environment (AWS_* for S3)")
        return value
