"""`python -m driftline_lab.bench.device.decoders.worker NAME MODEL THREADS`: one decoder."""

from __future__ import annotations

import sys
from pathlib import Path

from driftline_lab.bench.device.decoders.decoder import serve
from driftline_lab.bench.device.decoders.table import open_decoder
from driftline_shared.program.process import set_up_process

if __name__ == "__main__":
    set_up_process()
    name, model, threads = sys.argv[1:]
    serve(open_decoder(name, Path(model), int(threads)))
