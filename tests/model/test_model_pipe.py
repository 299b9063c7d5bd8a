"""Messages between node and model process, whole, cut and broken."""

from __future__ import annotations

import struct

import pytest

from meshcode.errors import BadData, BadFrame, BadValue
from meshcode.model.pipe import MESSAGE_BYTES_MAX, MessageReader, pack_message


def test_messages_come_out_as_they_went_in_however_they_are_cut():
    messages = [{"id": b"1", "do": "list"}, {}, {"fields": {"a": [1, None, "é"]}}]
    data = b"".join(pack_message(message) for message in messages)

    for size in range(1, len(data) + 1):
        reader, found = MessageReader(), []
        for at in range(0, len(data), size):
            found += reader.feed(data[at : at + size])
        assert found == messages


def test_a_message_is_its_length_and_a_packed_map():
    assert pack_message({"a": 1}) == bytes.fromhex("04000000 81 a1 61 01")


def test_content_that_is_no_map_is_told_and_passed_over():
    reader = MessageReader()
    data = struct.pack("<I", 3) + b"\xc1\xc1\xc1" + struct.pack("<I", 1) + b"\x07"

    broken, number, good = list(reader.feed(data + pack_message({"a": 1})))

    assert isinstance(broken, BadValue)
    assert isinstance(number, BadValue)
    assert good == {"a": 1}


def test_a_length_that_cannot_be_ends_the_stream():
    with pytest.raises(BadFrame) as caught:
        list(MessageReader().feed(struct.pack("<I", MESSAGE_BYTES_MAX + 1)))

    assert caught.value.text == (
        f"a message on the model's pipe says it has {MESSAGE_BYTES_MAX + 1} bytes, the most is"
        f" {MESSAGE_BYTES_MAX}; the pipe is given up and made anew"
    )


def test_what_is_not_plain_data_is_not_sent():
    with pytest.raises(BadData):
        pack_message({"fields": {"a": object()}})
