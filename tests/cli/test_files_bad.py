"""Files that are wrong: each is refused with its place, what is meant, and nothing is changed."""

from __future__ import annotations

import pytest

from meshcode.cli.files.document import PROBLEMS_MAX, read_document
from meshcode.cli.files.reading import read_files
from meshcode.errors import BadData
from meshcode.model.kinds import MADE, PLURALS

KINDS = ", ".join(plural for kind, plural in PLURALS.items() if kind not in MADE)
QUEUE = (
    "network, type, max_length, max_length_bytes, message_ttl, expires, overflow, dead_letter,"
    " labels"
)
SAME = "; nothing was changed"

BAD = [
    ("a.yaml", "queue: {}",
     f"a.yaml:1: there is no kind 'queue'; did you mean 'queues'?; there are {KINDS}{SAME}"),
    ("a.yaml", "\nqueus: {}",
     f"a.yaml:2: there is no kind 'queus'; did you mean 'queues'?; there are {KINDS}{SAME}"),
    ("a.yaml", "xyz: 1", f"a.yaml:1: there is no kind 'xyz'; there are {KINDS}{SAME}"),
    ("a.yaml", "queues: [a, b]",
     f"a.yaml:1: queues is ['a', 'b']; it must be a map of names{SAME}"),
    ("a.yaml", "- queues", "a.yaml is a list; it must be a map of kinds"),
    ("a.yaml", "queues", "a.yaml is a str; it must be a map of kinds"),
    ("a.json", "3", "a.json is a int; it must be a map of kinds"),
    ("a.yaml", "queues:\n  q: 5", f"a.yaml:2: queue 'q' is 5; it must be a map of options{SAME}"),
    ("a.yaml", "queues:\n  q:\n    max_lenght: 5",
     f"a.yaml:3: queue 'q' has no option 'max_lenght'; did you mean 'max_length'?; it has: {QUEUE}"
     + SAME),
    ("a.yaml", "queues:\n  q: {message_tll: 5s}",
     f"a.yaml:2: queue 'q' has no option 'message_tll'; did you mean 'message_ttl'?; it has:"
     f" {QUEUE}{SAME}"),
    ("a.yaml", "queues:\n  q: {message_ttl: 5}",
     f"a.yaml:2: queue 'q': message_ttl: '5' has no unit; write 5s for seconds or 5ms{SAME}"),
    ("a.yaml", "queues:\n  q: {message_ttl: soon}",
     "a.yaml:2: queue 'q': message_ttl: 'soon' is not a duration; write a number and a unit:"
     f" 500ms, 5s, 2m, 1h, 1d{SAME}"),
    ("a.yaml", "queues:\n  q: {message_ttl_ms: 0}",
     "a.yaml:2: queue 'q': message_ttl_ms is 0; it must be a whole number from 1 to 315360000000"
     f" milliseconds{SAME}"),
    ("a.yaml", "queues:\n  q: {message_ttl: 1h, message_ttl_ms: 5}",
     f"a.yaml:2: queue 'q' has message_ttl_ms twice, once without its unit{SAME}"),
    ("a.yaml", "queues:\n  q: {max_length_bytes: 5Q}",
     "a.yaml:2: queue 'q': max_length_bytes: '5Q' is not a size; write bytes, or a unit: 64KiB,"
     f" 10MB{SAME}"),
    ("a.yaml", "queues:\n  q: {max_length: many}",
     "a.yaml:2: queue 'q': max_length is 'many'; it must be a whole number from 1 to 20000000 calls"
     + SAME),
    ("a.yaml", "queues:\n  q: {overflow: drop}",
     "a.yaml:2: queue 'q': overflow is 'drop'; it must be 'reject' or 'dead-letter'" + SAME),
    ("a.yaml", "queues:\n  q: {}\n  r: {}\n  q: {}",
     "a.yaml:4: 'q' stands in line 2 of the same map already" + SAME),
    ("a.yaml", "queues:\n  5: {}", "a.yaml:2: the key 5 is read as a int; write it in quotes"),
    ("a.yaml", "queues:\n  no: {}", "a.yaml:2: the key no is read as a bool; write it in quotes"),
    ("a.yaml", "queues:\n  ? [a]\n  : {}", "a.yaml:2: a key must be a text, not a sequence"),
    ("a.yaml", "queues:\n  -q: {}",
     "a.yaml:2: the name of a queue is '-q'; it must be 1 to 200 of the characters A-Z a-z 0-9 . _"
     f" : / @ - without a leading - or @{SAME}"),
    ("a.yaml", "queues: {q: [}", "a.yaml:1: column 14: this is not YAML: did not find expected"
     " node content"),
    ("a.yaml", "queues:\n\tq: {}",
     "a.yaml:2: column 1: this is not YAML: found character that cannot start any token"),
    ("a.yaml", "queues: !!python/object/apply:os.getcwd []\n",
     "a.yaml:1: queues is []; it must be a map of names; nothing was changed"),
    ("a.yaml", "queues:\n  q: {type: !!python/name:os.getcwd x}",
     "a.yaml:2: column 13: this is not YAML: could not determine a constructor for the tag"
     " 'tag:yaml.org,2002:python/name:os.getcwd'"),
    ("a.yaml", "a: {}\n---\nb: {}",
     "a.yaml:2: column 1: this is not YAML: but found another document"),
    ("a.yaml", "processors:\n  p: {commit: 1234567}",
     "a.yaml:2: processor 'p': commit is 1234567; it must be a commit id of 7 to 64 hexadecimal"
     f" digits; write it in quotes{SAME}"),
    ("a.yaml", "processors:\n  p: {git: 'https://me:secret@host/x'}",
     "a.yaml:2: processor 'p': git is 'https://***@host/x'; it must be without a name or password;"
     " name where they are by `mesh add repo -u URL --credential env:NAME`" + SAME),
    ("a.yaml", "processors:\n  p:\n    env:\n      PORT: 80",
     f"a.yaml:3: processor 'p': env: PORT is 80; write it in quotes{SAME}"),
    ("a.yaml", "processors:\n  p:\n    env: {T: {from_env: NO_SUCH_NAME}}",
     "a.yaml:3: processor 'p': env: T is from_env NO_SUCH_NAME, and there is no such variable"
     + SAME),
    ("a.yaml", "processors:\n  p:\n    env: {T: {from_file: none.txt}}",
     "a.yaml:3: processor 'p': env: T is from_file none.txt, which cannot be read: No such file or"
     f" directory{SAME}"),
    ("a.yaml", "processors:\n  p:\n    env: {T: {from_vault: x}}",
     "a.yaml:3: processor 'p': env: T is a map; it must be a value, or {from_env: NAME}, or"
     " {from_file: PATH}" + SAME),
    ("a.yaml", "processors:\n  p:\n    env: {T: null}",
     "a.yaml:3: processor 'p': env is a dict; it must be a map to texts of Unicode without NUL, and"
     f" the value of T is none{SAME}"),
    ("a.yaml", "processors:\n  p:\n    env: hello",
     "a.yaml:3: processor 'p': env is a str; it must be a map of at most 64 environment variables"
     + SAME),
    ("a.toml", "[queues.q]\nmax_length = 0",
     "a.toml:2: queue 'q': max_length is 0; it must be a whole number from 1 to 20000000 calls"
     + SAME),
    ("a.toml", "[queues.q]\n[queues.q]",
     "a.toml: this is not TOML: Cannot declare ('queues', 'q') twice (at line 2, column 10)"),
    ("a.toml", "queues = ", "a.toml: this is not TOML: Invalid value (at end of document)"),
    ("a.toml", '[queues."a b"]',
     "a.toml:1: the name of a queue is 'a b'; it must be 1 to 200 of the characters A-Z a-z 0-9 . _"
     f" : / @ - without a leading - or @{SAME}"),
    ("a.json", '{"queues": {"q": {},\n "q": {}}}',
     "a.json has 'q' twice in one map; nothing was changed"),
    ("a.json", '{"queues": {"q": {\n"max_length": 0}}}',
     "a.json:2: queue 'q': max_length is 0; it must be a whole number from 1 to 20000000 calls"
     + SAME),
    ("a.json", '{"queues": }', "a.json:1: column 12: this is not JSON: Expecting value"),
    ("a.json", "[" * 100_000, "a.json is nested too deep"),
    ("a.yaml", "[" * 100_000,
     "a.yaml:1: column 1001: this is not YAML: exceeded maximum nesting depth"),
    ("a.yaml", "a: &a [x, x]\nb: &b [*a, *a]\n" + "".join(
        f"{chr(99 + i)}: &{chr(99 + i)} [*{chr(98 + i)}, *{chr(98 + i)}]\n" for i in range(20)),
     "a.yaml has more than 500000 values, aliases counted where they are used"),
    ("a.yaml", "a: &a [*a]", "a.yaml is nested deep, aliases counted where they are used"),
    ("a.txt", "queues: {}",
     "a.txt ends with none of .yaml, .yml, .toml, .json; say what it is with --format"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"), BAD, ids=[f"{i}-{row[0]}" for i, row in enumerate(BAD)]
)
def test_a_wrong_file_is_refused(name, text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)

    with pytest.raises(BadData) as caught:
        read_document(read_files([name]))

    assert caught.value.text == message


def test_all_that_is_wrong_is_told_at_once_and_counted(tmp_path):
    names = "".join(f"  q{i}: {{max_length: 0}}\n" for i in range(PROBLEMS_MAX + 3))
    (tmp_path / "a.yaml").write_text(f"queues:\n{names}")

    with pytest.raises(BadData) as caught:
        read_document(read_files([str(tmp_path / "a.yaml")]))

    lines = caught.value.text.splitlines()
    assert lines[0] == f"{PROBLEMS_MAX + 3} problems; nothing was changed"
    assert lines[1].startswith(f"  {tmp_path}/a.yaml:2: queue 'q0': max_length is 0")
    assert (lines[-1], len(lines)) == ("  and 3 more", PROBLEMS_MAX + 2)


def test_an_object_stands_in_one_file_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("queues:\n  q: {}\n")
    (tmp_path / "b.toml").write_text("[queues.q]\n")

    with pytest.raises(BadData) as caught:
        read_document(read_files(["a.yaml", "b.toml"]))

    assert caught.value.text == "b.toml:1: queue 'q' is in a.yaml:2 already; nothing was changed"


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.yaml").write_bytes(b"queues:\xff")

    for path, message in (
        ("none.yaml", f"{tmp_path}/none.yaml cannot be read: No such file or directory"),
        ("empty", f"the folder {tmp_path}/empty has no file that ends with .yaml, .yml, .toml,"
         " .json"),
        ("a.yaml", f"{tmp_path}/a.yaml is not UTF-8 text: byte 7 is 0xff"),
    ):  # fmt: skip
        with pytest.raises(BadData) as caught:
            read_files([str(tmp_path / path)])
        assert caught.value.text == message


def test_without_a_reader_of_yaml_it_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "yaml", None)  # As if it were not installed.
    (tmp_path / "a.yaml").write_text("queues: {}")
    (tmp_path / "a.json").write_text('{"queues": {"q": {"max_length": 0}}}')

    with pytest.raises(BadData) as missing:
        read_files([str(tmp_path / "a.yaml")])
    with pytest.raises(BadData) as placeless:
        read_document(read_files([str(tmp_path / "a.json")]))

    assert missing.value.text == (
        f"{tmp_path}/a.yaml is YAML, and PyYAML is not installed; install it with"
        " `pip install pyyaml`, or write TOML or JSON"
    )
    assert placeless.value.text.startswith(f"{tmp_path}/a.json: queue 'q': max_length is 0")
