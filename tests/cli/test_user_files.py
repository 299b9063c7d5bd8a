"""`mesh export`, `diff`, `apply` and `node clone` of a user: within its rights, and told so."""

from __future__ import annotations

import json

import pytest

SECRET = "correct horse battery"


@pytest.fixture
def shop(fresh, tmp_path):
    """A node with queues, a processor, a node that is declared, and joe, who is nobody special."""
    (tmp_path / "joe").write_text(SECRET + "\n")
    fresh.files = tmp_path
    fresh("up")
    for name in ("q1", "q2", "bank"):
        fresh("add", "queue", "-n", name)
    fresh("add", "processor", "-n", "p", "-g", "/nowhere", "-m", "a.b", "-rs", "stop")
    fresh("add", "node", "-n", "alpha", "-h", "localhost", "-c", "2")
    fresh("add", "deployment", "-n", "p", "-d", "p-alpha", "-h", "alpha")
    fresh("add", "user", "-n", "ann", "--password-file", str(tmp_path / "joe"))
    fresh("add", "user", "-n", "joe", "--password-file", str(tmp_path / "joe"))
    return fresh


def give(shop, *privileges):
    """More rights for joe: RIGHT, or RIGHT@ON."""
    shop.run(["logout"])
    for one in privileges:
        right, _, on = one.partition("@")
        shop("add", "privilege", "-u", "joe", "-n", right, *(("--on", on) if on else ()))
    shop("login", "-n", "joe", "--password-file", str(shop.files / "joe"))


def test_a_user_reads_itself_and_who_lists_users_reads_each(shop):
    give(shop)
    for words in (("get", "user", "joe"), ("ls", "user", "joe")):
        (found,) = shop.json(*words)
        assert (found["name"], found["password"]) == ("joe", True)
        assert "argon2id" not in json.dumps(found)
    assert shop.json("ls", "user", "joe")[0]["privileges"] == []
    _, err = shop("get", "user", "ann", status=4)
    assert "user joe may not READ_USER or LS_USERS on user 'ann': nobody gave it" in err

    give(shop, "LS_USERS")
    assert shop.json("get", "user", "ann")[0]["name"] == "ann"
    assert shop.json("ls", "user", "joe")[0]["privileges"] == ["LS_USERS"]


def test_an_export_of_a_user_has_what_it_may_read_and_says_what_it_has_not(shop):
    give(shop)
    for words in (("export",), ("export", "queues"), ("node", "clone", "alpha", "beta")):
        _, err = shop(*words, status=4)
        assert "needs READ, or READ_ or LS_ of at least one kind, like READ_QUEUE" in err
    give(shop, "READ_NODE")
    said, err = shop("export", "queues")
    assert said == "{}\n"
    assert "note: left out, since you may not read them: 3 queues; that needs READ_QUEUE" in err

    give(shop, "LS_QUEUES", "READ_PROCESSOR")
    said, err = shop("export", "-o", "json")
    document = json.loads(said)
    assert sorted(document["queues"]) == ["bank", "q1", "q2"]
    assert sorted(document["processors"]) == ["p"]
    assert sorted(document["users"]) == ["joe"]
    assert "1 deployment, 1 user, 3 privileges; that needs READ_DEPLOYMENT, READ_USER" in err
    _, err = shop("export", "queues")
    assert err == ""


def test_a_user_applies_what_it_may_change_and_is_told_all_that_it_may_not(shop, tmp_path):
    file = tmp_path / "net.yaml"
    file.write_text(
        "queues: {q1: {max_length: 5}, new: {}, bank: {max_length: 1}}\n"
        "processors: {p2: {git: /nowhere, module: m, requested_status: stop}}\n"
        "sockets: {s: {processor: p2, task: t, queue: new}}\n"
    )
    give(shop, "LS_QUEUES", "ADD_QUEUE", "UPDATE_QUEUE@queue:q*")

    _, err = shop("apply", "-f", str(file), status=4)
    _, dry = shop("apply", "-f", str(file), "--dry-run", status=4)
    assert dry == err  # It is checked as if it were done.
    for said in (
        "user joe may not make 3 of these 5 changes, and needs for them:",
        "ADD_PROCESSOR on processor 'p2'", "ADD_SOCKET on socket 's'",
        "UPDATE_QUEUE on queue 'bank'", "nothing was done",
    ):  # fmt: skip
        assert said in err
    shop("logout")
    assert "new" not in [row["name"] for row in shop.json("ls", "queues")]

    give(shop, "ADD_PROCESSOR", "ADD_SOCKET", "UPDATE_QUEUE@queue:bank")
    dry, _ = shop("apply", "-f", str(file), "--dry-run")
    assert "dry run: 3 to add, 2 to change, 0 to delete; nothing was changed" in dry
    shop("get", "queue", "new", status=3)
    said, err = shop("apply", "-f", str(file))
    assert "applied: 3 added, 2 changed, 0 deleted" in said
    assert "1 processor" in err  # p is there, and joe may not read it.
    file.write_text("sockets: {s2: {processor: p2, task: t2, queue: q1}}\n")
    said, err = shop("diff", "-f", str(file), status=1)  # p2 cannot be seen, and may be there.
    assert "s2" in said
    shop("apply", "-f", str(file))
    file.write_text("sockets: {s3: {processor: none, task: t2, queue: q1}}\n")
    _, err = shop("apply", "-f", str(file), status=3)
    assert "no processor is named 'none'" in err
    shop("logout")
    assert shop.json("ls", "socket", "s2")[0]["owner"] == "joe"
    lines = [row for row in shop.json("audit", "show") if row["what"] == "model.apply"]
    assert [row["outcome"] for row in lines].count("changed") == 2  # No dry run is one.


def test_a_node_is_cloned_by_who_may_read_and_add_what_is_declared_for_it(shop):
    give(shop, "READ_NODE", "ADD_NODE", "ADD_DEPLOYMENT")
    _, err = shop("node", "clone", "alpha", "beta", status=4)
    assert "1 deployment may not be read by you" in err and "READ_DEPLOYMENT on every" in err

    give(shop, "READ_DEPLOYMENT")
    said, _ = shop("node", "clone", "alpha", "beta")
    assert "applied: 2 added, 0 changed, 0 deleted" in said
