"""What an operator looks at: roles with their keys, versions and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuf.api.metadata import Root, Targets

from driftline_cloud.signing.files import ONLINE_ROLES, SigningFiles, read_metadata
from driftline_shared.errors import DataError
from driftline_shared.signing.versions import role_of, version_at


def shown(state: Path) -> dict[str, Any]:
    """The signed metadata of the cloud in `state`, for people and as JSON; DataError where there is
    none, ConfigError where it is not whole.
    """
    files = SigningFiles(state)
    number = files.newest_root()
    if not number:
        raise DataError(
            f"the cloud in {state} does not sign updates",
            fix="`driftline cloud init` makes keys; `driftline cloud keys init` where there is an "
            "authority already.",
        )
    root: Root = read_metadata(files.root(number))[0].signed
    rows = [_row("root", root, root.roles[Root.type].keyids)]
    for name in ONLINE_ROLES:
        rows.append(_row(name, read_metadata(files.role(name))[0].signed, root.roles[name].keyids))
    targets: Targets = read_metadata(files.role(Targets.type))[0].signed
    roles = targets.delegations.roles if targets.delegations is not None else None
    for line in files.lines():
        role = (roles or {}).get(role_of(line))
        signed = read_metadata(files.line(line))[0].signed
        row = _row(role_of(line), signed, role.keyids if role is not None else [])
        rows.append(
            {**row, "versions": sorted({version_at(line, path) for path in signed.targets} - {0})}
        )
    return {
        "roles": rows,
        "threshold": root.roles[Root.type].threshold,
        "root_keys_here": [str(path) for path in files.root_keys_here()],
    }


def _row(name: str, signed: Any, keys: list[str]) -> dict[str, Any]:
    ends = int(signed.expires.timestamp())
    return {"role": name, "version": signed.version, "ends_unix_s": ends, "keys": list(keys)}
