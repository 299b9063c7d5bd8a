"""Settings, secrets, files, flows and versions, on a real database."""

from __future__ import annotations

import pytest

from meshcode.errors import BadRequest, NotAllowed, TooLarge, UnknownObject, WrongState
from meshcode.model import snapshot, versions
from meshcode.model.settingnames import SETTINGS, values

FLOW = {"pipeline": ["shop.clean", {"call": "shop.clean", "args": [1]}]}


def numbers(model, of):
    rows = [row for row in model.ask("list", "version") if row["of"] == of]
    return sorted(row["number"] for row in rows)


def apply(model, *steps):
    return model.ask("apply", base=model.number, steps=list(steps))


def test_a_setting_is_published_and_the_rest_has_defaults(model):
    model.ask("add", "setting", "retention_age_ms", value=86_400_000)

    found = values(model.published[-1])

    assert found["retention_age_ms"] == 86_400_000
    assert found["worker_calls"] == SETTINGS["worker_calls"].default
    assert values({})["retention_age_ms"] is None, "the settings of the machine hold"
    row = model.ask("get", "setting", "retention_age_ms")
    assert (row["default"], row["value"]) == (None, 86_400_000)


def test_each_change_of_a_flow_makes_a_version_and_any_can_be_restored(model):
    model.shop()
    model.ask("add", "flow", "night", document=FLOW)
    model.ask("update", "flow", "night", document={"call": "shop.clean"})
    model.ask("update", "flow", "night", description="the same document")

    first = model.ask("get", "version", "night@1")
    restored = model.ask("update", "flow", "night", restore=1)

    assert first["of"] == "flow:night"
    assert restored["document"] == {
        "pipeline": [{"call": "shop.clean"}, {"call": "shop.clean", "args": [1]}]
    }
    assert (restored["sockets"], restored["steps"]) == (["shop.clean"], 3)
    assert numbers(model, "flow:night") == [1, 2, 3]
    third = model.ask("get", "version", "flow:night@3")
    assert third["digest"] == first["digest"]
    assert third["content"] == first["content"]


def test_a_restore_that_is_only_checked_changes_nothing(model):
    model.ask("add", "file", "note", content="one")
    model.ask("update", "file", "note", content="two")
    before = model.number
    request = {"do": "update", "kind": "file", "name": "note", "fields": {"restore": 1}}

    done, _ = model.publisher.request({**request, "dry": True}, model.now_ms)

    assert (done["content"], model.number) == ("one", before)
    assert model.ask("get", "file", "note")["content"] == "two"


def test_versions_take_slots_so_that_names_are_not_used_up(model):
    model.ask("add", "file", "note", content="0")
    for count in range(1, versions.KEPT + 4):
        model.ask("update", "file", "note", content=str(count))

    last = versions.KEPT + 4
    assert numbers(model, "file:note") == list(range(5, last + 1))
    assert len(model.published[-1]["versions"]) == versions.KEPT
    with pytest.raises(UnknownObject, match="has no version 4; kept are 5 to 20"):
        model.ask("update", "file", "note", restore=4)


def test_a_version_that_is_forgotten_is_not_answered_with_one_that_took_its_slot(model):
    model.ask("add", "file", "note", content="0")
    for count in range(2, versions.KEPT + 5):
        model.ask("update", "file", "note", content=str(count))

    for name in ("note@1", "file:note@1", "file:note@21"):
        with pytest.raises(UnknownObject, match=r"'note' has no version \d+; kept are 5 to 20; `"):
            model.ask("get", "version", name)
    row = model.ask("get", "version", "file:note@17")
    assert (row["content"], row["name"], row["slot"]) == ("17", "file:note@17", "file:note@1")
    listed = [row["name"] for row in model.ask("list", "version")]
    assert set(listed) == {f"file:note@{number}" for number in range(5, 21)}
    with pytest.raises(UnknownObject, match="did you mean 'file:note@"):
        model.ask("get", "version", "file:nite@7")


def test_versions_of_a_large_file_are_fewer(model):
    for count in range(8):
        content = str(count) * 60_000
        if count:
            model.ask("update", "file", "big", content=content)
        else:
            model.ask("add", "file", "big", content=content)

    assert numbers(model, "file:big") == [5, 6, 7, 8]


def test_all_files_together_have_a_limit_and_the_last_is_refused_whole(model, monkeypatch):
    monkeypatch.setattr(versions, "KEPT_BYTES_MAX", 400_000)
    for count in range(3):  # Each has a version, and é has two bytes.
        model.ask("add", "file", f"f{count}", content="é" * 32_000)

    said = "would make 512000 bytes of files and versions in the model, the most is 400000;"
    with pytest.raises(TooLarge, match=said):
        model.ask("add", "file", "f3", content="é" * 32_000)

    assert len(model.ask("list", "file")) == len(model.published[-1]["files"]) == 3


def test_a_deleted_file_takes_its_versions_with_it(model):
    model.ask("add", "file", "note", content="one")
    model.ask("add", "file", "other", content="one")

    model.ask("delete", "file", "note")

    assert numbers(model, "file:note") == []
    assert numbers(model, "file:other") == [1]


def test_bytes_are_kept_in_base64_and_told_by_their_digest(model):
    data = model.ask("add", "file", "raw", content="AAEC/w==", encoding="base64")

    assert (data["bytes"], data["digest"][:8]) == (4, "3d1f57c9")


def test_listings_have_no_content(model):
    model.shop()
    model.ask("add", "file", "note", content="one", folder="a/b")
    model.ask("add", "flow", "night", document=FLOW)

    assert "content" not in model.ask("list", "file")[0]
    assert "document" not in model.ask("list", "flow")[0]
    assert model.ask("list", "file")[0]["bytes"] == 3


def test_what_a_flow_and_a_processor_name_is_not_deleted(model):
    model.shop()
    model.ask("add", "flow", "night", document=FLOW)
    model.ask("add", "secret", "token", source="env:SHOP_TOKEN")
    model.ask("update", "processor", "shop", env={"TOKEN": "secret:token", "PLAIN": "x"})

    with pytest.raises(WrongState, match="used by flow 'night'"):
        model.ask("delete", "socket", "shop.clean")
    with pytest.raises(WrongState, match="used by processor 'shop'"):
        model.ask("delete", "secret", "token")
    assert model.ask("get", "secret", "token")["used_by"] == {"processors": ["shop"]}


def test_files_of_a_plan_make_versions_too(model):
    model.shop()
    steps = [
        ["add", "file", "note", {"content": "one"}],
        ["add", "flow", "night", {"document": FLOW}],
    ]
    apply(model, *steps)
    apply(model, ["update", "file", "note", {"content": "two"}], ["delete", "flow", "night", {}])

    assert numbers(model, "file:note") == [1, 2]
    assert numbers(model, "flow:night") == []
    with pytest.raises(BadRequest, match="step 1 would delete a version"):
        apply(model, ["delete", "version", "file:note@1", {}])


def test_the_document_of_a_flow_is_the_same_from_the_database(model):
    model.shop()
    odd = {"call": "shop.clean", "args": [1.5, 1e22, -0.0, 2**63 - 1, None, "é\n", {"a": [[]]}]}
    model.ask("add", "flow", "odd", document=odd)

    with model.database.read() as session:
        found = snapshot.read(session)

    assert found == model.published[-1]
    assert found["flows"]["odd"]["document"] == odd


CLEAN = {"processor": "shop", "task": "clean", "code": "def clean(x): ...\n"}


def test_an_override_says_whose_it_is_whatever_the_request_says(model):
    model.shop()

    made = model.ask("add", "override", "shop.clean", **CLEAN, by="somebody", made_ms=5)

    assert (made["by"], made["made_ms"]) == ("ann", model.now_ms)


def test_an_override_of_a_locked_processor_needs_its_password(model):
    model.shop()
    model.ask("update", "processor", "shop", password="open sesame")

    for do, fields in (("add", CLEAN), ("add", {**CLEAN, "unlock": "wrong one"})):
        with pytest.raises(NotAllowed, match="processor 'shop' has a password"):
            model.ask(do, "override", "shop.clean", **fields)
    model.ask("add", "override", "shop.clean", **CLEAN, unlock="open sesame")
    with pytest.raises(NotAllowed, match="processor 'shop' has a password"):
        model.ask("delete", "override", "shop.clean")
    model.ask("delete", "override", "shop.clean", unlock="open sesame")


def test_overrides_go_with_their_processor(model):
    model.shop()
    model.ask("add", "override", "shop.clean", **CLEAN)
    model.ask("delete", "socket", "shop.clean")

    model.ask("remove", None, "shop")

    assert model.published[-1]["overrides"] == {}
