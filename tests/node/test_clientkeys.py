"""The list of clients elsewhere, as its operator writes it; and a node's own key file for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from meshcode import errors, limits
from meshcode.client.keys import KeyPair, key_pair
from meshcode.node.clientkeys import KeyFile, read_keys
from meshcode.trust import identity

KEY = z85.encode(b"k" * 32)
RAW = b"k" * 32


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (KEY, ""),
        (KEY + b"\r", ""),
        (b"  " + KEY + b"\tthe laptop of ann # really", ""),
        (z85.encode(b"\xff\xfe" * 16) + b" z85 may begin with anything", ""),
        (b"", None),
        (b"   ", None),
        (b"# " + KEY, None),
        (b"#", None),
        (KEY[:-1] + b" ann", "line 1 lists nobody: its first word has 39 characters"),
        (KEY + b"x", "line 1 lists nobody: its first word has 41 characters"),
        (b"#" * 40, "line 1 lists nobody: its first word has 40 characters"),
        (KEY[:-1] + b"~", "line 1 lists nobody"),
        (KEY[:-1] + b"\xff", "line 1 lists nobody"),
        (b"ann " + KEY, "line 1 lists nobody: its first word has 3 characters"),
        (b"\0" * 40, "line 1 lists nobody"),
    ],
)
def test_a_line_lists_one_key_or_nobody(line: bytes, problem: str | None):
    keys, problems = read_keys(line)

    assert len(keys) == (problem == "")
    assert all(len(key) == 32 for key in keys)
    assert (problems == []) if not problem else (len(problems) == 1 and problem in problems[0])


def test_a_wrong_line_costs_itself_only_and_is_never_shown():
    secret = b"s3cr3t" * 5
    keys, problems = read_keys(b"\n".join([b"# mine", KEY, secret, z85.encode(b"o" * 32) + b" bo"]))

    assert keys == {RAW, b"o" * 32}
    assert len(problems) == 1 and "line 3" in problems[0] and "s3cr3t" not in problems[0]


def test_the_list_is_bounded():
    lines = [z85.encode(n.to_bytes(32, "big")) for n in range(limits.CLIENT_KEYS_MAX + 5)]

    keys, problems = read_keys(b"\n".join(lines))

    assert len(keys) == limits.CLIENT_KEYS_MAX
    assert problems == [
        f"line {limits.CLIENT_KEYS_MAX + 1} and those after it list nobody: "
        f"{limits.CLIENT_KEYS_MAX} keys are the limit"
    ]


def test_the_file_takes_effect_when_it_comes_changes_and_goes(tmp_path: Path):
    file = KeyFile(tmp_path)
    assert file.refresh() == [] and not file.keys

    file.path.write_bytes(KEY + b" ann\n")
    assert file.refresh() == [] and file.keys == {RAW}

    when = file.path.stat().st_mtime_ns
    file.path.write_bytes(z85.encode(b"o" * 32) + b" ann\n")
    os.utime(file.path, ns=(when, when))  # The same size and time: the content counts.
    assert file.refresh() == [] and file.keys == {b"o" * 32}

    file.path.unlink()
    assert file.refresh() == [] and not file.keys


def test_a_problem_is_told_once_until_the_file_is_another(tmp_path: Path):
    file = KeyFile(tmp_path)
    file.path.write_bytes(b"nonsense\n" + KEY)

    assert len(file.refresh()) == 1 and file.keys == {RAW}
    assert file.refresh() == []
    file.path.write_bytes(b"rubbish\n" + KEY)
    assert "line 1" in file.refresh()[0]


@pytest.mark.parametrize("fault", ["others may write", "too large", "a folder"])
def test_a_file_that_cannot_be_used_lists_nobody_and_is_told_once(tmp_path: Path, fault: str):
    file = KeyFile(tmp_path)
    file.path.write_bytes(KEY)
    assert not file.refresh() and file.keys
    if fault == "others may write":
        file.path.chmod(0o620)
    elif fault == "too large":
        file.path.write_bytes(b"# " + bytes(limits.CLIENT_KEYS_BYTES_MAX))
    else:
        file.path.unlink()
        file.path.mkdir()

    told = file.refresh()

    assert len(told) == 1 and "it lets in nobody" in told[0] and not file.keys
    assert file.refresh() == []
    if fault == "others may write":
        file.path.chmod(0o600)
        assert file.refresh() == [] and file.keys == {RAW}


def test_a_client_reads_the_key_file_that_a_node_writes(tmp_path: Path, monkeypatch):
    public, secret = identity.make_curve_pair()
    path = tmp_path / "mesh" / "node.key"
    path.parent.mkdir()
    path.write_text(json.dumps({"format": 1, "secret": secret.hex(), "sign_seed": "00" * 32}))
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    monkeypatch.delenv("MESH_CLIENT_KEY", raising=False)

    assert key_pair(None) == KeyPair(z85.encode(public), z85.encode(secret))


@pytest.mark.parametrize("secret", ["", "00" * 31, "0a" * 33, "zz" * 32, 5, None, "x" * 40])
def test_a_node_key_file_without_a_good_secret_is_refused(secret, tmp_path, monkeypatch):
    path = tmp_path / "node.key"
    path.write_text(json.dumps({"secret": secret, "sign_seed": "00" * 32}))
    monkeypatch.setenv("MESH_CLIENT_KEY", str(path))

    with pytest.raises(errors.BadRequest, match="64 hexadecimal digits as a node writes") as caught:
        key_pair(None)

    assert str(path) in str(caught.value)
    if isinstance(secret, str) and secret:
        assert secret[:20] not in str(caught.value), "it may be a secret"


def test_the_format_of_an_operator_is_read_as_before(tmp_path, monkeypatch):
    public, secret = zmq.curve_keypair()
    path = tmp_path / "me.key"
    path.write_text(json.dumps({"public": public.decode(), "secret": secret.decode()}))
    monkeypatch.setenv("MESH_CLIENT_KEY", str(path))

    assert key_pair(None) == KeyPair(public, secret)
