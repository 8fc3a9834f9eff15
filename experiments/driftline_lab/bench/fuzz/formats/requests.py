"""What people and newcomers send: requests of the local API, invitations, certificates."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, datetime, timedelta

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from PIL import Image

from driftline_device.api.chat.question import read_question
from driftline_device.api.errors import ApiError
from driftline_device.api.responses.body import read_responses
from driftline_device.api.settings import ApiConfig
from driftline_lab.bench.fuzz.formats.target import Target
from driftline_shared.errors import DriftlineError
from driftline_shared.trust.certificates import read_chain, read_request, to_pem, trouble_with
from driftline_shared.trust.invitation import Invitation, read_invitation, token_text
from driftline_shared.trust.keys import identity_of, named, new_key

_PAIR, _MAX_PIXELS = "fuzz", 200_000
_CONFIG = ApiConfig()
_API = ("driftline_device.api",)
_TRUST = ("driftline_shared.trust",)


class _OwnFaultError(Exception):
    """The API would answer that it is broken itself."""


def requests() -> dict[str, Target]:
    """By name."""
    key = new_key()
    return {
        "chat": Target(
            corpus=(_chat(), _chat(stream=True, tools=[], response_format={"type": "text"})),
            read=_read_chat,
            refusals=(ApiError, DriftlineError),
            modules=_API,
        ),
        "responses": Target(
            corpus=(_responses(),),
            read=_read_responses,
            refusals=(ApiError, DriftlineError),
            modules=_API,
        ),
        "invitation": Target(
            corpus=(
                Invitation(address="127.0.0.1:7443", root="0f" * 32).text().encode(),
                Invitation(
                    address="cloud.example:7443", root="0f" * 32, token=token_text(bytes(18))
                )
                .text()
                .encode(),
            ),
            read=lambda data: read_invitation(data.decode("utf-8", "surrogateescape")),
            refusals=(DriftlineError,),
            modules=_TRUST,
        ),
        "chain": Target(
            corpus=(_chain(),),
            read=_read_chain,
            refusals=(ValueError, DriftlineError),
            modules=_TRUST,
        ),
        "certificate-request": Target(
            corpus=(key.request(),),
            read=read_request,
            refusals=(DriftlineError,),
            modules=_TRUST,
        ),
    }


def _read_chat(body: bytes) -> object:
    try:
        return read_question(body, pair=_PAIR, config=_CONFIG, max_pixels=_MAX_PIXELS)
    except ApiError as error:
        raise _checked(error) from error


def _read_responses(body: bytes) -> object:
    try:
        return read_responses(body, pair=_PAIR, config=_CONFIG, max_pixels=_MAX_PIXELS)
    except ApiError as error:
        raise _checked(error) from error


def _checked(error: ApiError) -> Exception:
    return error if error.status < 500 else _OwnFaultError(str(error))


def _read_chain(pem: bytes) -> object:
    chain = read_chain(pem)
    return [(trouble_with(one), identity_of(one.public_key())) for one in chain]


def _picture() -> str:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _chat(**more: object) -> bytes:
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": _picture()}},
    ]
    messages = [{"role": "user", "content": content}]
    return json.dumps({"model": _PAIR, "messages": messages, **more}).encode()


def _responses() -> bytes:
    content = [
        {"type": "input_text", "text": "what?"},
        {"type": "input_image", "image_url": _picture()},
    ]
    return json.dumps(
        {"model": _PAIR, "input": [{"role": "user", "content": content}], "stream": True}
    ).encode()


def _chain() -> bytes:
    """One certificate that signed itself."""
    key, now = new_key(), datetime.now(UTC)
    name = named("fuzz")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key.key, hashes.SHA256())
    )
    return to_pem([certificate])
