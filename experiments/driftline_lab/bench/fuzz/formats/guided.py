"""One format under atheris: `python -m driftline_lab.bench.fuzz.formats.guided NAME CORPUS ...`.

What follows NAME is libFuzzer's. The corpus folder is filled with the good documents first.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path


def main(words: list[str]) -> None:
    """Does not come back: libFuzzer ends the process, with 77 at a finding."""
    import atheris

    name, corpus = words[0], Path(words[1])
    from driftline_shared.program.process import set_up_process

    set_up_process()
    with atheris.instrument_imports(
        include=["driftline_shared", "driftline_device", "driftline_cloud"]
    ):
        from driftline_lab.bench.fuzz.formats.run import quiet, tried
        from driftline_lab.bench.fuzz.formats.targets import targets

        target = targets()[name]
    for good in target.corpus:
        (corpus / hashlib.sha256(good).hexdigest()[:16]).write_bytes(good)

    def one(data: bytes) -> None:
        if what := tried(target, data):
            sys.stderr.write(f"finding {what}\n")
            raise RuntimeError(what)

    with quiet():
        atheris.Setup([sys.argv[0], *words[1:]], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
