"""`driftline lab report`: a run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

REPORT_EXAMPLES = """
**Examples**

    driftline lab report ./run

    driftline lab report ./run --out page.html --screenshot page.png --height 1500

A screenshot needs Chromium (Debian: chromium). Exit codes: 0 well; 1 the run cannot be read; 2 a
flag is wrong, or there is no Chromium.
"""


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, of `driftline demo --out` say.")],
    out: Annotated[
        Path | None, typer.Option(help="The page to write; by default report.html in the run.")
    ] = None,
    screenshot: Annotated[
        Path | None, typer.Option(help="Also a PNG of the page, made by headless Chromium.")
    ] = None,
    height: Annotated[
        int, typer.Option(help="Most pixels of its height; the width is 1280.", min=100)
    ] = 16_000,
) -> None:
    """Write a run as one HTML page: timeline, domains, rounds, pictures, settings."""
    from driftline_lab.report.browser import Browser
    from driftline_lab.report.page import write_page
    from driftline_shared.errors import ConfigError
    from driftline_shared.host.durable import write_atomic

    page = out or run / "report.html"
    if screenshot is not None and screenshot.is_dir():
        raise ConfigError(f"--screenshot {screenshot} is a folder: name a file")
    write_page(run, page)
    typer.echo(f"wrote {page}")
    if screenshot is not None:
        with Browser.start() as browser:
            browser.open(page, width=1280)
            write_atomic(screenshot, browser.screenshot(height))
        typer.echo(f"wrote {screenshot}")
