"""`python -m driftline_lab.bench.decoders.worker NAME MODEL THREADS`: one decoder, until told."""

from __future__ import annotations

import sys
from pathlib import Path

from driftline_lab.bench.decoders.decoder import serve
from driftline_lab.bench.decoders.table import open_decoder

if __name__ == "__main__":
    name, model, threads = sys.argv[1:]
    serve(open_decoder(name, Path(model), int(threads)))
