"""Why a file cannot be read as a video: OpenCV does not say, the file's own tables do.

MP4 and MOV are boxes of [size, four letters] (ISO/IEC 14496-12): `moov` is the index, mostly
written last, and in it each track has a `hdlr` with its kind, `vide` or `soun`, and a `stsd` with
its codec. AVI names streams `vids`, Matroska and WebM name codecs `V_...`. Only the beginning and
the index are looked at.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

from driftline_shared.pictures.formats import what_it_is

_HEAD_BYTES = 1 << 20
_INDEX_BYTES = 16 << 20
_MOST_BOXES = 10_000
_BOX = re.compile(rb"....(ftyp|moov|mdat|free|skip|wide|pnot|styp|moof)", re.DOTALL)
_KIND = re.compile(rb"hdlr.{8}(vide|soun)", re.DOTALL)
_CODEC = re.compile(rb"stsd.{12}([\x20-\x7e]{4})", re.DOTALL)
_SOUND = re.compile(rb"ID3|fLaC|OggS|RIFF....WAVE|\xff[\xe0-\xff]", re.DOTALL)

NO_STREAM = "it holds no video stream"
CANNOT_DECODE = "what is in it cannot be decoded here"


def why_unreadable(path: Path) -> str:
    """What is wrong with the video file `path`, which could not be opened or has no frame."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_HEAD_BYTES)
            if not head:
                return "it is empty"
            if _BOX.match(head):
                return _of_boxes(file, size)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        if b"vids" not in head:
            return NO_STREAM
        whole = 8 + int.from_bytes(head[4:8], "little")
        return _cut(size, whole) if whole > size else CANNOT_DECODE
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return CANNOT_DECODE if b"V_" in head else NO_STREAM
    if _SOUND.match(head):
        return f"{NO_STREAM}, it is sound"
    named = what_it_is(head[:512])
    return "it is no video" if named.endswith("not an image") else f"it is no video: {named}"


def _of_boxes(file: BinaryIO, size: int) -> str:
    at, cut = 0, ""
    for _ in range(_MOST_BOXES):
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            break
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        length = length or size - at  # 0: to the end
        if at + length > size:
            cut = _cut(size, at + length)
        if name in (b"moov", b"moof"):
            file.seek(at)
            return _of_index(file.read(min(length, _INDEX_BYTES)), cut)
        if length < 8 or cut:
            break
        at += length
    lacking = "the index of its frames (moov), which is mostly written last, is missing"
    return f"{cut}: {lacking}" if cut else f"it is cut short or broken: {lacking}"


def _of_index(index: bytes, cut: str) -> str:
    kinds = _KIND.findall(index)
    if b"vide" not in kinds:
        return cut or (f"{NO_STREAM}, only sound" if kinds else NO_STREAM)
    codecs = sorted({codec.decode("ascii") for codec in _CODEC.findall(index)})
    return cut or f"{CANNOT_DECODE} ({', '.join(codecs[:4]) or 'of no known codec'})"


def _cut(size: int, whole: int) -> str:
    return f"it is cut short, {size} of {whole} bytes are there"
