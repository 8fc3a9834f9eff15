"""Keys, certificates, invitations and credentials: what is read, and what is told of the rest."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.trust.authority import Authority, make_authority
from driftline_cloud.trust.issuer import LocalIssuer, Role
from driftline_shared.errors import ConfigError
from driftline_shared.trust.certificates import (
    due_unix_s,
    fingerprint,
    leads_to,
    read_chain,
    read_request,
    trouble_with,
)
from driftline_shared.trust.credentials import (
    CHAIN,
    KEY,
    cloud_address,
    has_credentials,
    keep_credentials,
    read_credentials,
)
from driftline_shared.trust.invitation import TOKEN_BYTES, Invitation, read_invitation, token_text
from driftline_shared.trust.keys import identity_of, new_key, own_key, read_key, write_key
from driftline_shared.trust.newcomers import newcomer, newcomers_root


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(Path(tmp_path_factory.mktemp("authority")), name="tests")


def test_a_key_is_made_once_and_its_owner_alone_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    first = own_key(path)
    assert own_key(path).identity == first.identity
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_key(path, new_key())  # another process was first
    assert read_key(path).identity == first.identity
    assert [one.name for one in path.parent.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("kind", ["nonsense", "empty", "rsa", "another curve", "too large"])
def test_what_is_no_key_of_ours_is_told_apart(tmp_path: Path, kind: str) -> None:
    def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    path = tmp_path / "key.pem"
    path.write_bytes(
        {
            "nonsense": lambda: b"nonsense",
            "empty": lambda: b"",
            "rsa": lambda: pem(rsa.generate_private_key(65537, 2048)),
            "another curve": lambda: pem(ec.generate_private_key(ec.SECP384R1())),
            "too large": lambda: b"x" * 10_000,
        }[kind]()
    )
    with pytest.raises((ConfigError, ValueError)):
        own_key(path)
    assert path.exists()


def test_a_request_tells_whose_key_it_is_and_a_spoilt_one_is_refused() -> None:
    key = new_key()
    der = key.request()
    public = read_request(der).public_key()
    assert identity_of(public) == key.identity
    for spoilt in (b"", der[:-1], der[:-2] + b"\0\0", b"\0" * 20_000):
        with pytest.raises(ConfigError):
            read_request(spoilt)


def test_a_chain_leads_to_its_root_and_to_no_other(authority: Authority, tmp_path: Path) -> None:
    other = make_authority(tmp_path, name="tests")  # of the same name
    chain = read_chain(LocalIssuer(authority).issue(new_key().key.public_key(), Role.DEVICE))
    assert leads_to(chain, authority.root)
    assert not leads_to(chain, other.root)
    assert not leads_to(chain[:1], authority.root)
    assert not leads_to([], authority.root)
    assert not leads_to([chain[0], other.issuing], other.root)


def test_what_is_wrong_with_a_certificate_is_told_with_both_times(authority: Authority) -> None:
    (leaf, _) = read_chain(LocalIssuer(authority).issue(new_key().key.public_key(), Role.DEVICE))
    now = datetime.now(UTC)
    assert trouble_with(leaf, now) == ""
    early, late = (
        trouble_with(leaf, now - timedelta(days=1)),
        trouble_with(leaf, now + timedelta(days=31)),
    )
    assert "holds from" in early and f"{now - timedelta(days=1):%Y-%m-%d}" in early
    assert "ended on" in late and f"{now + timedelta(days=31):%Y-%m-%d}" in late
    assert 19 < (due_unix_s(leaf) - now.timestamp()) / 86_400 < 21  # two thirds of 30 days


def test_each_role_is_read_again_and_only_from_its_own_authority(
    authority: Authority, tmp_path: Path
) -> None:
    issuer, other = LocalIssuer(authority), LocalIssuer(make_authority(tmp_path, name="tests"))
    for role in Role:
        leaf = read_chain(issuer.issue(new_key().key.public_key(), role))[0]
        assert issuer.role_of(leaf) is role
        assert other.role_of(leaf) is None
    assert issuer.role_of(read_chain(newcomer()[1])[0]) is None
    assert issuer.role_of(newcomers_root()) is None


def test_the_newcomers_root_is_the_same_in_every_process() -> None:
    assert identity_of(newcomers_root().public_key()) == "088cbb81da9837562d58185a9320e4fb"


_hosts = st.sampled_from(["127.0.0.1", "[::1]", "cloud.example", "a-b.c"])
_ports = st.integers(1, 65_535)
_tokens = st.one_of(st.just(""), st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES))


@given(host=_hosts, port=_ports, root=st.binary(min_size=32, max_size=32), token=_tokens)
def test_an_invitation_reads_as_it_was_written(
    host: str, port: int, root: bytes, token: bytes | str
) -> None:
    text = token_text(token) if isinstance(token, bytes) else token
    made = Invitation(address=f"{host}:{port}", root=root.hex(), token=text)
    assert read_invitation(f"  {made.text()}\n") == made
    assert read_invitation(f"\ufeff{made.text()}{' ' * 900}\r\n") == made


@given(st.text(max_size=120))
def test_any_other_text_is_told_to_be_no_invitation(text: str) -> None:
    with pytest.raises(ConfigError):
        read_invitation(text)


@given(cut=st.integers(1, 90))
def test_a_cut_invitation_is_refused(cut: int) -> None:
    whole = Invitation(address="127.0.0.1:7443", root="ab" * 32, token=token_text(b"t" * 18)).text()
    with pytest.raises(ConfigError):
        read_invitation(whole[:-cut])


def test_credentials_are_kept_whole_or_told_to_be_broken(
    authority: Authority, tmp_path: Path
) -> None:
    assert not has_credentials(tmp_path)
    assert cloud_address(tmp_path) == ""
    key = own_key(tmp_path / KEY)
    chain = LocalIssuer(authority).issue(key.key.public_key(), Role.DEVICE)
    keep_credentials(tmp_path, chain=chain, roots=authority.roots_pem, address="127.0.0.1:7443")
    found = read_credentials(tmp_path)
    assert found.identity == key.identity
    assert cloud_address(tmp_path) == "127.0.0.1:7443"
    assert fingerprint(found.certificate) == fingerprint(read_chain(chain)[0])
    other = LocalIssuer(authority).issue(new_key().key.public_key(), Role.DEVICE)
    for spoilt in (b"", b"nonsense", other):
        (tmp_path / CHAIN).write_bytes(spoilt)
        with pytest.raises(ConfigError):
            read_credentials(tmp_path)
    (tmp_path / CHAIN).write_bytes(chain)
    (tmp_path / KEY).unlink()
    with pytest.raises(ConfigError):
        read_credentials(tmp_path)


UNKNOWN_KEY = b"""-----BEGIN CERTIFICATE-----
MIIBMDCB1qADAgECAhRu1nnh7UmnkuXesOUa/AGLGJausjAKBggqhkjOPQQDAjAP
MQ0wCwYDVQQDDARmdXp6MB4XDTI2MTEyODE2NTE1NVoXDTI2MTEyOTE2NTE1NVow
DzENMAsGA1UEAwwEZnV6ejBZMBMGByqGMAS94gEGCCqGSM49AwEHA0IABHdo55Wx
qQc26YmPDL67MUs3Sb+So5NN3DkqnuXAHR8K/rcVmHzEXGZvQR+mHendhRJ2XtbE
8dVa+8aJN++8otCjEDAOMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSQAwRgIh
AJJpeiKSh4u1GEFU52VaF3xxrkv2Jy4eyY/F+t3xrVCEAiEA918vgjhgWmwp+0ym
VPceDmapr2z25yYPtxxw7qpwYTw=
-----END CERTIFICATE-----
"""
"""Found by `driftline lab bench fuzz`: whoever asked for its key met an error of another kind."""


def test_a_certificate_with_a_key_of_an_unknown_kind_is_none() -> None:
    with pytest.raises(ValueError, match="no certificates: Unknown key type"):
        read_chain(UNKNOWN_KEY)
