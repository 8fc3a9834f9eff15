"""Another issuing key for the same root: what the one before signed holds, or holds no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from driftline_cloud.trust import authority as authority_module
from driftline_cloud.trust.authority import make_authority, read_authority, renew_issuing
from driftline_cloud.trust.issuer import LocalIssuer, Role
from driftline_shared.errors import ConfigError
from driftline_shared.trust.certificates import leads_to, read_chain
from driftline_shared.trust.keys import new_key, write_key


def _leaf(state: Path) -> list[x509.Certificate]:
    issuer = LocalIssuer(read_authority(state))
    return read_chain(issuer.issue(new_key().key.public_key(), Role.DEVICE))


@pytest.mark.parametrize("distrust", [False, True])
def test_the_root_stays_and_what_was_signed_holds_unless_it_is_distrusted(
    tmp_path: Path, distrust: bool
) -> None:
    first = make_authority(tmp_path, name="tests")
    old = _leaf(tmp_path)
    again = renew_issuing(tmp_path, tmp_path / "trust" / "root.key", distrust=distrust)
    assert again.root == first.root and again.issuing != first.issuing
    issuer = LocalIssuer(again)
    assert issuer.role_of(old[0]) is (None if distrust else Role.DEVICE)
    new = _leaf(tmp_path)
    assert issuer.role_of(new[0]) is Role.DEVICE
    for chain in (old, new):
        assert leads_to(chain, first.root)
    assert read_authority(tmp_path).issuing == again.issuing


def test_several_changes_are_kept_to_a_bound(tmp_path: Path) -> None:
    make_authority(tmp_path, name="tests")
    for _ in range(authority_module.MOST_BEFORE + 2):
        found = renew_issuing(tmp_path, tmp_path / "trust" / "root.key", distrust=False)
    assert len(found.before) == authority_module.MOST_BEFORE
    assert renew_issuing(tmp_path, tmp_path / "trust" / "root.key", distrust=True).before == ()


def test_a_change_that_is_cut_off_leaves_an_authority_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, root_key = make_authority(tmp_path, name="tests"), tmp_path / "trust" / "root.key"

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(authority_module, "write_atomic", cut)
        with pytest.raises(KeyboardInterrupt):
            renew_issuing(tmp_path, root_key, distrust=False)
    assert read_authority(tmp_path).issuing == first.issuing
    with monkeypatch.context() as patched:
        patched.setattr(authority_module, "read_authority", _once(read_authority, cut))
        with pytest.raises(KeyboardInterrupt):
            renew_issuing(tmp_path, root_key, distrust=False)
    found = read_authority(tmp_path)
    assert found.issuing != first.issuing and found.before == (first.issuing,)
    assert not (tmp_path / "trust" / "issuing.next").exists()


def _once(call: object, then: object) -> object:
    calls: list[object] = []

    def answer(*given: object) -> object:
        calls.append(given)
        return call(*given) if len(calls) == 1 else then()  # type: ignore[operator]

    return answer


def test_another_root_key_and_none_are_told(tmp_path: Path) -> None:
    make_authority(tmp_path, name="tests")
    other = tmp_path / "other.key"
    write_key(other, new_key())
    with pytest.raises(ConfigError, match="not the key of this cloud's root"):
        renew_issuing(tmp_path, other, distrust=False)
    with pytest.raises(ConfigError, match="cannot be read"):
        renew_issuing(tmp_path, tmp_path / "nowhere", distrust=False)
