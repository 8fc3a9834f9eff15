"""Nine large pictures at once take little more memory than one."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes.api_device import messages, request

_READ = """
import resource, sys, threading
from pathlib import Path
from driftline_device.api.ask.asking import Asking
from driftline_device.api.chat.question import read_question
from driftline_device.api.settings import ApiConfig

body = Path(sys.argv[1]).read_bytes()
config = ApiConfig()
asking = Asking(None, config)

def one_read(body):
    return read_question(body, pair="fake", config=config, max_pixels=50_000_000)

def read():
    pixels = asking._read(one_read, body).image
    assert pixels.shape == (1334, 1000, 3), pixels.shape
    kept.append(pixels)  # as those do that wait for the model

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

kept = []
threads = [threading.Thread(target=read) for _ in range(9)]
threads[0].start(); threads[0].join()
one = peak()
for thread in threads[1:]: thread.start()
for thread in threads[1:]: thread.join()
assert len(kept) == 9
print(one, peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="bytes of the peak are Linux's")
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_nine_large_pictures_take_little_more_than_one(tmp_path: Path, form: str) -> None:
    ramp = np.linspace(0, 255, 4000).astype(np.uint8)
    picture = Image.merge("RGB", [Image.fromarray(np.repeat(ramp[None], 5336, axis=0))] * 3)
    file = io.BytesIO()
    picture.save(file, form, **({"compress_level": 1} if form == "PNG" else {"progressive": True}))
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    body = tmp_path / "body.json"
    body.write_text(json.dumps(request(messages=messages(url=url))))
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(body)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    one_mb, nine_mb = map(int, done.stdout.split())
    assert nine_mb < 1.5 * one_mb, f"{one_mb} MB, then {nine_mb} MB"
