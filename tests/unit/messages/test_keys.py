"""Key files, signatures, tokens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vmm.errors import ConfigError
from vmm.messages import keys

SIGNER = keys.Signer.generate()


def test_init_makes_what_is_missing_and_never_overwrites(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    made = {path.relative_to(folder).as_posix() for path in keys.init_keys(folder, ["h1"])}
    assert made == {"manager.key", "manager.pub", "enrol.secret", "clients/h1.key", "clients/h1.pub"}
    before = (folder / "manager.key").read_bytes()
    assert [path.name for path in keys.init_keys(folder, ["h1", "h2"])] == ["h2.key", "h2.pub"]
    assert (folder / "manager.key").read_bytes() == before
    for private in ("manager.key", "enrol.secret", "clients/h1.key"):
        assert (folder / private).stat().st_mode & 0o777 == 0o600


def test_pairs_belong_together(tmp_path: Path) -> None:
    keys.init_keys(tmp_path, ["h1", "rack1.h2"])
    signer = keys.Signer.load(tmp_path / "clients/rack1.h2.key")
    public = keys.load_clients(tmp_path)
    assert set(public) == {"h1", "rack1.h2"}
    signature = signer.sign(1, 2, "h", b"body")
    assert keys.verify(public["rack1.h2"], signature, 1, 2, "h", b"body")
    assert not keys.verify(public["h1"], signature, 1, 2, "h", b"body")


def test_a_lost_public_file_is_made_again_but_a_lost_private_one_is_an_error(tmp_path: Path) -> None:
    keys.init_keys(tmp_path)
    public = (tmp_path / "manager.pub").read_text()
    (tmp_path / "manager.pub").unlink()
    keys.init_keys(tmp_path)
    assert (tmp_path / "manager.pub").read_text() == public
    (tmp_path / "manager.key").unlink()
    with pytest.raises(ConfigError, match=r"manager\.key is not"):
        keys.init_keys(tmp_path)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        keys.init_keys(tmp_path, [name])


@pytest.mark.parametrize("content", [b"", b"zz", b"ab" * 31, b"ab" * 33, b"\xff\xfe", b"not hexadecimal" * 4])
def test_a_file_that_is_no_key_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.key"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a private key"):
        keys.Signer.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.load_public(tmp_path / "missing.pub")


def test_one_bad_file_does_not_hide_the_other_clients(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys.init_keys(tmp_path, ["h1", "h2"])
    (tmp_path / "clients/h1.pub").write_text("half")
    assert set(keys.load_clients(tmp_path)) == {"h2"}
    assert "h1.pub" in caplog.text


def test_a_key_of_ones_own_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "client.key"
    first = keys.load_or_make(path)
    assert keys.load_or_make(path).public_key == first.public_key
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["client.key"]


def test_a_key_that_cannot_be_stored_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "client.key.d").mkdir()
    (tmp_path / f"client.key.{os.getpid()}.new").mkdir()
    with pytest.raises(ConfigError, match="cannot be stored"):
        keys.load_or_make(tmp_path / "client.key")


def test_tokens_differ_by_guest_and_secret() -> None:
    tokens = {keys.guest_token(secret, guest) for secret in (b"a" * 32, b"b" * 32) for guest in ("g1", "g2")}
    assert len(tokens) == 4
    assert keys.guest_token(b"a" * 32, "g1") == keys.guest_token(b"a" * 32, "g1")


fields = st.tuples(st.integers(0, 9), st.integers(0, 99), st.text(max_size=6), st.binary(max_size=6))


@given(fields, fields)
@example((1, 2, "ab", b"c"), (1, 2, "a", b"bc"))
@example((1, 2, "a|b", b"c"), (1, 2, "a", b"b|c"))
@example((1, 23, "", b""), (12, 3, "", b""))
def test_a_signature_counts_for_exactly_its_fields(
    one: tuple[int, int, str, bytes], other: tuple[int, int, str, bytes]
) -> None:
    assert keys.verify(SIGNER.public_key, SIGNER.sign(*one), *other) == (one == other)


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_bytes_that_are_no_key_or_no_signature_do_not_verify(key: bytes, signature: bytes) -> None:
    assert not keys.verify(key, signature, 1, 2, "h", b"body")
