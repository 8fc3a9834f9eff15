"""A sampled picture with the tokens that left the device."""

from __future__ import annotations

import base64

from driftline_lab.report.numbers import size
from driftline_lab.runs.run import Picture
from driftline_shared.pages.markup import Markup, join, tag


def figure(picture: Picture, data: bytes) -> Markup:
    """`data`: the bytes of its PNG or JPEG file."""
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    address = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    count, of = len(picture.kept), picture.rows * picture.cols
    verdict = {True: " ✓", False: " ✗", None: ""}[picture.correct]
    facts = [f"{count} of {of} tokens", size(picture.bytes) if picture.bytes else ""]
    facts += [picture.domain, f"answer {picture.n:,}" if picture.n else "", f"v{picture.version}"]
    drawn = tag(
        "svg",
        tag("title", f"{picture.question}: {count} of {of} tokens were sent"),
        tag("image", href=address, width=100, height=100, preserveAspectRatio="none"),
        *_cells(picture),
        viewBox="0 0 100 100",
        role="img",
    )
    answers = [tag("span", f"{picture.answer}{verdict}", class_=_kind(picture.correct))]
    if picture.teacher:
        answers += [Markup("; "), join(f"teacher: {picture.teacher}")]
    caption = tag(
        "figcaption",
        tag("span", picture.question, class_="question"),
        tag("span", *answers, class_="answers"),
        " · ".join(filter(None, facts)),
    )
    return tag("figure", drawn, caption)


def _kind(correct: bool | None) -> str | None:
    return None if correct is None else ("good" if correct else "bad")


def _cells(picture: Picture) -> list[Markup]:
    """A veil over every cell whose token stayed, an outline round every one that left."""
    across, down = 100 / picture.cols, 100 / picture.rows
    kept = set(picture.kept)
    veils: list[str] = []
    outlines: list[str] = []
    for place in range(picture.rows * picture.cols):
        row, col = divmod(place, picture.cols)
        corner = f"M{col * across:.4g} {row * down:.4g}h{across:.4g}v{down:.4g}h{-across:.4g}z"
        (outlines if place in kept else veils).append(corner)
    return [
        tag("path", d="".join(veils), class_="veil"),
        tag("path", d="".join(outlines), class_="cell", stroke_width=0.6),
    ]
