"""A folder under a signature: whatever is not as it was signed is refused, by name."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from driftline_shared.errors import ConfigError, PairError, Reason
from driftline_shared.signing.folders import keys, listing, signature
from driftline_shared.signing.folders.keys import SigningKey, Trusted, trusted
from driftline_shared.signing.folders.signature import FILE, sign_folder, verify_folder

LEFT_OUT = ("prepared.json",)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return keys.make_key(tmp_path / "keys" / "pairs.key")


@pytest.fixture
def folder(tmp_path: Path, key: SigningKey) -> Path:
    made = tmp_path / "folder"
    (made / "inner").mkdir(parents=True)
    (made / "a.bin").write_bytes(bytes(range(256)))
    (made / "inner" / "é.bin").write_bytes(b"weights")
    (made / "empty").touch()
    sign_folder(made, "it", key, LEFT_OUT)
    return made


def refused(folder: Path, key: SigningKey | Trusted) -> str:
    by = key if isinstance(key, Trusted) else Trusted(id=key.id)
    with pytest.raises(PairError) as caught:
        verify_folder(folder, by, LEFT_OUT)
    assert caught.value.reason is Reason.PAIR_UNTRUSTED
    return str(caught.value)


def test_what_was_signed_is_believed(folder: Path, key: SigningKey, tmp_path: Path) -> None:
    for by in (Trusted(id=key.id), trusted(str(tmp_path / "keys" / "pairs.key.pub"))):
        signed = verify_folder(folder, by, LEFT_OUT)
        assert (signed.id, signed.name) == (key.id, "it")
        assert {name: one.size for name, one in signed.files.items()} == {
            "a.bin": 256,
            "inner/é.bin": 7,
            "empty": 0,
        }


def test_the_same_folder_signed_again_is_the_same_bytes(folder: Path, key: SigningKey) -> None:
    before = (folder / FILE).read_bytes()
    sign_folder(folder, "it", key, LEFT_OUT)
    assert (folder / FILE).read_bytes() == before


def test_what_a_machine_notes_for_itself_changes_nothing(folder: Path, key: SigningKey) -> None:
    for name in ("prepared.json", ".prepared.json.new", f".{FILE}.new"):
        (folder / name).write_bytes(b"{}")
    verify_folder(folder, Trusted(id=key.id), LEFT_OUT)


def _flip(folder: Path) -> None:
    (folder / "inner" / "é.bin").write_bytes(b"weightz")


def _link(folder: Path) -> None:
    (folder / "a.bin").rename(folder.parent / "a.bin")
    (folder / "a.bin").symlink_to(folder.parent / "a.bin")


def _link_folder(folder: Path) -> None:
    (folder / "inner").rename(folder.parent / "inner")
    (folder / "inner").symlink_to(folder.parent / "inner")


def _deep(folder: Path) -> None:
    (folder / "/".join(["d"] * 40)).mkdir(parents=True)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "added": (lambda f: (f / "inner" / "new").touch(), "inner/new was added"),
    "hidden": (lambda f: (f / ".new").touch(), ".new was added"),
    "removed": (lambda f: (f / "a.bin").unlink(), "a.bin is missing"),
    "renamed": (lambda f: (f / "a.bin").rename(f / "b.bin"), "b.bin was added, a.bin is missing"),
    "changed": (_flip, "inner/é.bin was changed"),
    "cut": (lambda f: os.truncate(f / "a.bin", 9), "a.bin has 9 bytes, not 256"),
    "grown": (lambda f: (f / "empty").write_bytes(b"1"), "empty has 1 bytes, not 0"),
    "linked": (_link, "a.bin is a link"),
    "a linked folder": (_link_folder, "inner is a link"),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), "pipe is no file"),
    "an odd name": (lambda f: (f / "a\nb").touch(), "name that is not plain: 'a\\nb'"),
    "no text": (lambda f: Path(os.fsdecode(os.fsencode(f) + b"/\xff")).touch(), "not plain"),
    "deep": (_deep, "32 folders deep"),
    "unsigned": (lambda f: (f / FILE).unlink(), "is not signed"),
    "emptied": (lambda f: (f / FILE).write_bytes(b""), "no signature of ours"),
    "a folder": (
        lambda f: ((f / FILE).unlink(), (f / FILE).mkdir()),
        "model.sig is no file",
    ),
    "endless": (lambda f: os.truncate(f / FILE, 5 << 20), "larger than"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_as_signed_is_refused_by_name(name: str, folder: Path, key: SigningKey) -> None:
    change, said = CHANGES[name]
    change(folder)
    assert said in refused(folder, key)


def test_more_than_a_few_differences_are_not_all_told(folder: Path, key: SigningKey) -> None:
    for number in range(9):
        (folder / f"n{number}").touch()
    assert refused(folder, key).endswith("n4 was added, and more")


def test_too_many_files_are_refused(
    folder: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_FILES", 2)
    assert "more than 2 files" in refused(folder, key)


def test_links_are_not_signed(folder: Path, key: SigningKey) -> None:
    _link(folder)
    with pytest.raises(PairError, match=r"a\.bin is a link"):
        sign_folder(folder, "it", key, LEFT_OUT)


# -- who signed ------------------------------------------------------------------------------------


def test_another_key_is_not_believed(folder: Path, key: SigningKey, tmp_path: Path) -> None:
    other = keys.make_key(tmp_path / "other.key")
    assert f"signed by the key {key.id}, and trusted is {other.id}" in refused(folder, other)
    by_file = trusted(str(tmp_path / "other.key.pub"))
    assert f"the key {other.id} did not sign it" in refused(folder, by_file)


def test_who_signs_anew_is_not_believed_under_the_name_of_another(
    folder: Path, key: SigningKey, tmp_path: Path
) -> None:
    """The bundle's key and hint are the thief's to write."""
    thief = keys.make_key(tmp_path / "thief.key")
    _flip(folder)
    sign_folder(folder, "it", thief, LEFT_OUT)
    bundle = json.loads((folder / FILE).read_text())
    given = bundle["verificationMaterial"]["publicKey"]
    given["hint"] = key.id
    (folder / FILE).write_text(json.dumps(bundle))
    assert "was signed by the key" in refused(folder, key)
    given["rawBytes"] = base64.b64encode(keys.public_der(key.public)).decode()
    (folder / FILE).write_text(json.dumps(bundle))
    assert "did not sign it" in refused(folder, key)


def _payload(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    def edit(bundle: dict[str, Any]) -> None:
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        change(statement)
        text = json.dumps(statement).encode()
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()

    return edit


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a digest": (
        _payload(lambda s: s["predicate"]["resources"][0].update(digest="0" * 64)),
        "did not sign it",
    ),
    "a type": (lambda b: b["dsseEnvelope"].update(payloadType="text/plain"), "payloadType"),
    "a kind of bundle": (lambda b: b.update(mediaType="x"), "mediaType"),
    "no signature": (lambda b: b["dsseEnvelope"].update(signatures=[]), "signatures"),
    "many": (lambda b: b["dsseEnvelope"]["signatures"].extend([{"sig": ""}] * 99), "signatures"),
    "no base64": (lambda b: b["dsseEnvelope"].update(payload="é"), "base64"),
    "no key": (lambda b: b["verificationMaterial"]["publicKey"].pop("rawBytes"), "its key"),
    "no DER": (
        lambda b: b["verificationMaterial"]["publicKey"].update(rawBytes="AAAA"),
        "no signature of ours",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_signature_is_refused(name: str, folder: Path, key: SigningKey) -> None:
    edit, said = EDITS[name]
    bundle = json.loads((folder / FILE).read_text())
    edit(bundle)
    (folder / FILE).write_text(json.dumps(bundle))
    assert said in refused(folder, key)


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a//b", "a/./b", "", "a\0b", "x" * 600])
def test_paths_that_lead_out_are_refused_though_they_are_signed(
    path: str, folder: Path, key: SigningKey
) -> None:
    files = {path: listing.Listed(sha256="0" * 64, size=0)}
    (folder / FILE).write_bytes(signature.signature_of("it", files, key))
    assert "no signature of ours" in refused(folder, key)


# -- keys ------------------------------------------------------------------------------------------


def test_a_made_key_is_its_owners_alone_and_is_never_replaced(tmp_path: Path) -> None:
    made = keys.make_key(tmp_path / "k")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert keys.read_key(tmp_path / "k").id == made.id
    assert trusted(str(tmp_path / "k.pub")).id == made.id == trusted(made.id.upper()).id
    for name in ("k", "k.pub"):
        (tmp_path / name).unlink()
        with pytest.raises(ConfigError, match="is there already"):
            keys.make_key(tmp_path / "k")
        (tmp_path / name).touch()


def _pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_a_key_of_ones_own_on_p256_signs(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ec.key").write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    key = keys.read_key(tmp_path / "ec.key")
    sign_folder(folder, "it", key, LEFT_OUT)
    verify_folder(folder, Trusted(id=key.id), LEFT_OUT)
    (folder / "empty").unlink()
    assert "empty is missing" in refused(folder, key)


def test_other_keys_are_refused(tmp_path: Path) -> None:
    for data in (
        _pem(ec.generate_private_key(ec.SECP384R1())),
        _pem(ed448.Ed448PrivateKey.generate()),
        b"no key",
    ):
        (tmp_path / "k").write_bytes(data)
        with pytest.raises(ConfigError, match="no key that can be used"):
            keys.read_key(tmp_path / "k")
    with pytest.raises(ConfigError, match="there is no key"):
        keys.read_key(tmp_path / "none")


def test_whom_to_trust_is_a_public_key_or_its_id(tmp_path: Path) -> None:
    keys.make_key(tmp_path / "k")
    (tmp_path / "text").write_text("no key")
    for text, said in (
        (str(tmp_path / "k"), "a private key"),
        (str(tmp_path / "text"), "no public key of ours"),
        (str(tmp_path), "is no file"),
        ("0bde1f3f", "neither a key's id nor a file"),
    ):
        with pytest.raises(ConfigError, match=said):
            trusted(text)
