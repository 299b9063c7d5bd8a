"""Labels by the command: given, shown, looked for, taken away."""

from __future__ import annotations

from meshcode.client import connect
from meshcode.client.objects.queue import Queue
from meshcode.paths import clients_address


def names(shell, *words):
    return shell("ls", *words, "-q")[0].split()


def test_labels_are_given_found_changed_and_taken_away(fresh):
    fresh("up")
    fresh("add", "network", "-n", "west", "--label", "zone=eu")
    fresh("add", "queue", "-n", "a", "--label", "env=prod", "--label", "team=red")
    fresh("add", "queue", "-n", "b", "--label", "env=test")
    fresh("add", "queue", "-n", "c")
    fresh("add", "processor", "-n", "p", "-g", "/nowhere", "-m", "m", "--label", "env=prod")
    fresh("add", "socket", "-n", "p.f", "-q", "a", "-pn", "p", "-t", "f", "--label", "env=prod")

    assert fresh.json("get", "queue", "a")[0]["labels"] == {"env": "prod", "team": "red"}
    assert "env=prod team=red" in fresh("get", "queue", "a")[0]
    found = [names(fresh, "queues", *words) for words in (
        (), ("-l", "env=prod"), ("-l", "env=*"), ("-l", "env=*", "--label", "team=red"),
        ("-l", "env=none"), ("-l", "red=team"),
    )]  # fmt: skip
    assert found == [["a", "b", "c"], ["a"], ["a", "b"], ["a"], [], []]
    assert names(fresh, "networks", "-l", "zone=e?") == ["west"]
    assert names(fresh, "processors", "-l", "env=prod") == ["p"]
    assert names(fresh, "sockets", "-l", "env=prod") == ["p.f"]
    assert names(fresh, "sockets", "-l", "env=test") == []
    assert "no socket has the label env=test" in "".join(fresh("ls", "sockets", "-l", "env=test"))

    fresh("update", "queue", "-n", "a", "--label", "env=test")
    assert fresh.json("get", "queue", "a")[0]["labels"] == {"env": "test"}
    fresh("update", "queue", "-n", "a", "--max-length", "5")
    assert names(fresh, "queues", "-l", "env=test") == ["a", "b"]
    fresh("update", "queue", "-n", "a", "--label", "none")
    assert fresh.json("get", "queue", "a")[0]["labels"] == {}

    here = fresh.json("ls", "nodes")[0]["name"]
    assert names(fresh, "nodes", "-l", "zone=eu") == []
    fresh("add", "node", "-n", here, "--label", "zone=eu")
    assert [row["name"] for row in fresh.json("ls", "nodes", "-l", "zone=eu")] == [here]
    assert names(fresh, "nodes", "-l", "zone=us") == []
    assert "declared with the label zone=us" in "".join(fresh("ls", "nodes", "-l", "zone=us"))


def test_files_and_python_have_labels_too(fresh, tmp_path):
    fresh("up")
    file = tmp_path / "net.yaml"
    file.write_text("queues:\n  a:\n    labels: {env: prod, year: '2031'}\n  b:\n")
    fresh("apply", "-f", str(file))
    fresh("diff", "-f", str(file))
    with connect(clients_address(fresh.home)) as client:
        assert Queue("a", client=client).labels == {"env": "prod", "year": "2031"}
        queue = Queue("c", labels={"env": "test"}, client=client).update(labels={"env": "prod"})
        assert queue.labels == {"env": "prod"}
    assert names(fresh, "queues", "-l", "env=prod") == ["a", "c"]

    file.write_text("queues:\n  a:\n    labels: {env: test}\n")
    fresh("diff", "-f", str(file), status=1)
    fresh("apply", "-f", str(file))
    assert fresh.json("get", "queue", "a")[0]["labels"] == {"env": "test"}
    assert "env: test" in fresh("export")[0]
    file.write_text("queues:\n  a:\n    labels: {year: 2031}\n")
    assert "year is 2031; write it in quotes" in fresh("apply", "-f", str(file), status=2)[1]


def test_what_is_no_label_is_2_and_says_what_one_is(fresh):
    said = [fresh("add", "queue", "-n", "a", *words, status=2)[1] for words in (
        ("--label", "env"), ("--label", "a=1", "--label", "a=2"),
    )]  # fmt: skip
    assert "write KEY=VALUE, this has no '=': 'env'" in said[0]
    assert "a is given twice: '1' and '2'" in said[1]
    assert "write KEY=PATTERN" in fresh("ls", "queues", "-l", "env", status=2)[1]
