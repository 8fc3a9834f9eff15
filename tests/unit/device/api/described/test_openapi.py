"""The description names every route and loads nothing."""

from __future__ import annotations

import re

from driftline_device.api.app import Api
from driftline_device.api.described.openapi import OWNER, document
from driftline_device.api.described.page import page
from driftline_device.api.key import Key
from driftline_device.api.owner.routes import OwnerRoutes
from driftline_device.api.settings import ApiConfig
from driftline_device.daemon.snapshot import Snapshot


class Device:
    ready = True

    def snapshot(self) -> Snapshot:
        return Snapshot(
            pid=1, unix_s=0.0, activity="", device_id="", pair="p", base_model="", version=0
        )


def test_every_route_is_described_and_nothing_else() -> None:
    config = ApiConfig()
    api = Api(Device(), config, key=Key(config), max_pixels=1)  # type: ignore[arg-type]
    routes = {
        (route.path.replace("{name:path}", "{name}"), method.lower())  # type: ignore[attr-defined]
        for route in api.app.routes
        for method in route.methods  # type: ignore[attr-defined]
    }
    api.close()
    described = {
        (path, method) for path, methods in document("1")["paths"].items() for method in methods
    }
    described -= {(path, method) for path, (method, _) in OWNER.items()}
    assert described <= routes
    others = {path for path, method in routes - described if method != "head"}
    assert others == {"/chat/completions", "/responses", "/models", "/models/{name}"}


def test_the_owners_routes_are_described_as_they_are() -> None:
    config = ApiConfig()
    router = OwnerRoutes(None, Device().snapshot).router(Key(config))  # type: ignore[arg-type]
    found = {
        (route.path, method.lower())  # type: ignore[attr-defined]
        for route in router.routes
        for method in route.methods  # type: ignore[attr-defined]
        if method != "HEAD"
    }
    assert found == {(path, method) for path, (method, _) in OWNER.items()}


def test_references_lead_somewhere() -> None:
    whole = document("1")
    found = set(re.findall(r"#/components/schemas/(\w+)", str(whole)))
    assert found <= set(whole["components"]["schemas"])
    assert {"ChatBody", "ResponsesBody", "StreamOptions", "Error"} <= found


def test_the_page_loads_nothing_and_has_the_fields() -> None:
    text = page(document("<1>"))
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(", text)
    assert not re.search(r"(src|href)=\"?https?:", text)
    assert "&lt;1&gt;" in text and "max_completion_tokens" in text and "(0..2)" in text
