"""Which role may call what: every method of the protocol is decided, none by chance."""

from __future__ import annotations

import pytest

from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.peers import NOBODY, Peer
from driftline_cloud.trust.rules import METHODS, check_self, refuse
from driftline_proto.v1 import control_pb2, downlink_pb2, trust_pb2, uplink_pb2
from driftline_shared.errors import LinkError, Reason


def _peer(role: Role, tls: str = "TLSv1.3") -> Peer:
    return Peer(identity="1" * 32, role=role, tls=tls, ends_unix_s=0.0)


def _why(method: str, peer: Peer) -> str:
    try:
        refuse(method, peer)
    except LinkError as error:
        return str(error.reason)
    return ""


def test_every_method_of_the_protocol_has_its_line() -> None:
    files = (control_pb2, downlink_pb2, trust_pb2, uplink_pb2)
    methods = {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods == {name for name in METHODS if name.startswith("/driftline.")}


@pytest.mark.parametrize("method", [*METHODS, "/grpc.reflection.v1alpha.ServerReflection/Any"])
def test_newcomers_and_servers_get_nowhere_but_to_the_door(method: str) -> None:
    is_open = method.startswith(("/driftline.v1.Trust/", "/grpc.health."))
    assert _why(method, _peer(Role.NEWCOMER)) == ("" if is_open else Reason.NOT_ENROLLED)
    assert _why(method, _peer(Role.SERVER)) == ("" if is_open else Reason.NOT_ALLOWED)


def test_a_method_that_nobody_thought_of_is_for_those_who_look() -> None:
    method = "/driftline.v2.Tomorrow/Do"
    assert _why(method, _peer(Role.DEVICE)) == Reason.NOT_ALLOWED
    assert _why(method, _peer(Role.READER)) == ""


def test_an_older_tls_and_a_peer_without_a_certificate_are_refused() -> None:
    method = "/driftline.v1.Control/GetStatus"
    assert _why(method, _peer(Role.OPERATOR, tls="TLSv1.2")) == Reason.TLS_TOO_OLD
    assert _why(method, NOBODY) == Reason.TLS_TOO_OLD


def test_a_device_speaks_for_itself_alone() -> None:
    check_self(_peer(Role.DEVICE), "1" * 32)
    for other in ("", "2" * 32, "1" * 31):
        with pytest.raises(LinkError) as caught:
            check_self(_peer(Role.DEVICE), other)
        assert caught.value.reason is Reason.NOT_YOUR_ID
