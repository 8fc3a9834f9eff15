"""Checkpoints from the Hugging Face hub: by id and revision, safetensors only, from the cache
first.

Nothing is fetched that could run: neither pickled weights nor Python files are among the patterns.
"""

from __future__ import annotations

import re
from pathlib import Path

from driftline_shared.errors import PairError
from driftline_shared.pair.weights import weight_files

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files that a checkpoint is made of."""

_NOT_OURS = ("*/*",)
"""Sub-folders hold the same weights in other formats (onnx, original)."""

TIMEOUT_S = 10.0
"""Longest wait for the hub's first answer."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_BRANCHES = ("main", "master", "refs/heads/main")


def snapshot(model_id: str, revision: str, *, cache: Path | None = None) -> Path:
    """The folder of a hub checkpoint: from the local cache, else fetched into it.

    `cache`: None is the hub's own (HF_HUB_CACHE). Raises PairError for a revision that does not
    name one state, a model that is nowhere to be had, and one without safetensors.
    """
    check_revision(model_id, revision, cache=cache)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ModuleNotFoundError as missing:
        raise PairError(
            f"{model_id} is on the model hub, and {missing.name} is not installed: "
            "pip install 'driftline[device-torch]', or name a folder with path = \"...\""
        ) from missing
    try:
        found = Path(
            snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache,
                local_files_only=True,
                allow_patterns=list(PATTERNS),
            )
        )
        if is_whole(found):
            return found
    except LocalEntryNotFoundError:
        pass
    return _fetch(model_id, revision, cache)


def check_revision(model_id: str, revision: str, *, cache: Path | None = None) -> None:
    """Raise PairError unless `revision` can name one state of the model for good."""
    if revision and revision not in _BRANCHES:
        return
    problem = (
        f"revision {revision!r} is a branch, which moves" if revision else "no revision is given"
    )
    held = held_commits(model_id, cache=cache)
    advice = (
        f"the cache holds {', '.join(held)}"
        if held
        else f"copy the commit from https://huggingface.co/{model_id}/commits/main"
    )
    raise PairError(
        f"{model_id}: {problem}. Device and cloud must run the same weights, today and in a year: "
        f'write revision = "<commit or tag>" beside the id ({advice})'
    )


def is_commit(revision: str) -> bool:
    """Whether `revision` is a full commit, which can never name anything else."""
    return _COMMIT.fullmatch(revision) is not None


def held_commits(model_id: str, *, cache: Path | None = None) -> list[str]:
    """Commits of the model that the local cache holds."""
    if cache is None:
        try:
            from huggingface_hub.constants import HF_HUB_CACHE
        except ModuleNotFoundError:
            return []
        cache = Path(HF_HUB_CACHE)
    folder = cache / f"models--{model_id.replace('/', '--')}" / "snapshots"
    return sorted(path.name for path in folder.glob("*") if is_commit(path.name))


def is_whole(folder: Path) -> bool:
    """Whether a snapshot holds its config and every file that its weights are in.

    A cache may hold parts only: whoever asked for the config has the config.
    """
    try:
        return (folder / "config.json").is_file() and bool(weight_files(folder))
    except PairError:
        return False


def _fetch(model_id: str, revision: str, cache: Path | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The library has changed its HTTP client before; errors of the client are its own's base.
    client_error: type[Exception] = HfHubHTTPError.__bases__[0]
    place = f"{model_id} at {revision}"
    try:
        # Asked first: a download whose hub cannot be reached gives the parts that are here.
        info = HfApi().model_info(model_id, revision=revision, timeout=TIMEOUT_S)
        if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or ()):
            raise PairError(
                f"{place} has no safetensors; pickled weights can run code and are never read. "
                "Choose a revision with safetensors, or convert a copy and name its folder"
            )
        found = Path(
            snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache,
                allow_patterns=list(PATTERNS),
                ignore_patterns=list(_NOT_OURS),
            )
        )
    except GatedRepoError as error:
        raise PairError(
            f"{place} is behind terms of use: accept them on its page, then `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise PairError(f"{model_id} has no revision {revision!r}; copy a commit") from error
    except RepositoryNotFoundError as error:
        raise PairError(
            f"the hub knows no model {model_id!r}, or it is private: check the id, or log in"
        ) from error
    except (LocalEntryNotFoundError, client_error, OSError) as error:
        raise PairError(
            f"{place} is not in the local cache and the hub cannot be reached: connect once, or "
            f'copy the folder here and name it with path = "..." ({_first_line(error)})'
        ) from error
    if not is_whole(found):
        raise PairError(f"{place}: config.json or a file of its weights is missing on the hub")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
