"""`docs/wire.md` says what the code does: its tables and its example are compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshcode import limits
from meshcode.native import layout
from meshcode.wire import codec, plain
from meshcode.wire import frame as wire
from meshcode.wire.kinds import Flag, Kind, Level, Outcome

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "wire.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, as cells of text."""
    section = re.split(r"\n##+ ", PAGE.split(f" {heading}\n", 1)[1])[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    ("heading", "header", "named"),
    [
        ("Frame header", layout.FRAME_HEADER, {"count": 8, "sequence": 24, "crc": 36}),
        ("Envelope header", layout.ENVELOPE_HEADER, {"kind": 3, "meta_size": 68, "number": 72}),
    ],
)
def test_a_header_table_has_the_sizes_of_the_struct(heading, header, named):
    rows = table(heading)
    sizes = [int(size or 1) for size in re.findall(r"(\d*)s", header.format)]
    widths = {"B": 1, "H": 2, "I": 4, "Q": 8}
    fields = [
        int(field[:-1]) if field.endswith("s") else widths[field]
        for field in re.findall(r"\d+s|[BHIQ]", header.format)
    ]

    assert [int(size) for _, size, *_ in rows] == fields
    assert sizes[0] == fields[0]
    offset = 0
    for at, size, field, _ in rows:
        assert int(at) == offset
        assert named.get(field, offset) == offset
        offset += int(size)
    assert offset == header.size


def test_every_kind_and_flag_is_on_the_page():
    rows = [row for row in table("Kinds") if row[0].isdigit()]  # Two tables, one after the other.
    assert {(int(n), name) for n, name, *_ in rows} == {
        (int(kind), kind.name) for kind in Kind
    }
    assert {(int(n), name) for n, name, *_ in table("Flags")} == {
        (int(flag), flag.name) for flag in Flag
    }
    for word in (*Outcome, *Level):
        assert re.search(rf"\b{int(word)} {word.name}\b", PAGE), word


def test_every_limit_on_the_page_is_the_one_in_force():
    rows = table("Limits")

    assert len(rows) == 10
    for name, value, _ in rows:
        assert getattr(limits, name) == int(value), name


def test_every_extension_type_is_on_the_page():
    numbers = {int(number) for number, *_ in table("Extension types")}

    assert numbers == {*plain.DECODERS, layout.TUPLE_EXT, -1}


def test_every_fault_is_on_the_page():
    names = {row[0].strip("`") for row in table("Bytes that are wrong")} - {"name"}
    framing = {code.name.lower() for code in layout.FaultCode if code < layout.FaultCode.DATA_CUT}

    assert names == framing
    for code in layout.FaultCode:
        assert f"`{code.name.lower()}`" in PAGE


def example() -> bytes:
    block = PAGE.split("```hex\n")[1].split("```")[0]
    lines = block.splitlines()
    assert [int(line[:4]) for line in lines] == list(range(0, 16 * len(lines), 16))
    return bytes.fromhex("".join(line[4:] for line in lines))


def test_the_example_is_what_the_code_writes():
    call = bytes.fromhex("0192f3c1a0b07c4d8e5f001122334455")
    submit = {
        "id": call, "flow": call, "name": b"shop.clean", "meta": codec.pack({"priority": 7}),
        "body": codec.pack_call(["some text"]), "flags": Flag.FRESH, "argc": 1,
    }  # fmt: skip

    one_by_one = wire.frame([wire.envelope(Kind.SUBMIT, **submit)], sequence=1, receiver_boot=3)
    at_once = wire.seal_frame([wire.draft(Kind.SUBMIT, **submit)], sequence=1, receiver_boot=3)

    assert example() == one_by_one == at_once


def test_the_example_is_what_the_code_reads(twin):
    data = example()

    head, (row,) = wire.index(data)

    assert head == (1, 152, 0, 3, 1)
    assert (row.start, row.name_at, row.meta_at, row.body_at, row.end) == (40, 120, 130, 141, 152)
    assert wire.name_of(data, row) == "shop.clean"
    assert codec.unpack_map(data[row.meta_at : row.body_at]) == {"priority": 7}
    assert codec.unpack_call(data[row.body_at : row.end], bool(row.flags & Flag.KWARGS)) == (
        ["some text"],
        {},
    )
