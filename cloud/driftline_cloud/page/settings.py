"""Settings of the operator's pages."""

from __future__ import annotations

from pydantic import field_validator, model_validator

from driftline_shared.host.loopback import is_loopback
from driftline_shared.program.address import check_address
from driftline_shared.program.section import Section, setting


class PageSettings(Section):
    """Where an operator's browser looks. The pages show all, and change what they are let."""

    listen: str = setting(
        "", "host:port of the operator's pages beside `serve`; empty: none; port 0: any free one"
    )
    hosts: tuple[str, ...] = setting(
        (),
        "names beside localhost under which a browser may ask for the pages. They ask for no "
        "password: off loopback a proxy in front of them has to",
    )
    orders: bool = setting(
        False,
        "orders may be given on the pages, by who signs in with the key in `page.key` of the state "
        "folder; without it they change nothing",
    )
    private: bool = setting(
        False,
        "looking asks to sign in, too: with that key, or with the one in `page-reader.key`, which "
        "looks and gives no orders",
    )
    refresh_s: int = setting(10, "between two loads of a page that is live", ge=1, le=3_600)

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        return check_address(value, least_port=0) if value else ""

    @model_validator(mode="after")
    def _closed_off_loopback(self) -> PageSettings:
        host = self.listen.rpartition(":")[0]
        if self.listen and not is_loopback(host) and not self.hosts:
            raise ValueError(
                f"listen {self.listen} can be reached from other machines, and the pages ask for "
                "no password: listen on 127.0.0.1, or name in page.hosts the host that a proxy "
                "in front of them answers for"
            )
        return self

    @property
    def signs(self) -> bool:
        """Whether somebody may sign in: else there is nothing that it would let them do."""
        return self.orders or self.private
