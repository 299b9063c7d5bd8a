"""Files: the same in three formats, references, parts for some nodes, and what is written."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.cli.files.document import read_document
from meshcode.cli.files.reading import FORMATS, _read, read_files
from meshcode.cli.files.selecting import select_nodes
from meshcode.cli.files.showing import counts_of, items_of, lines_of
from meshcode.cli.files.writing import duration_text, secrets_in, to_document, to_text
from meshcode.errors import BadData
from meshcode.model.kinds import FIELDS, KINDS, MADE, PLURALS
from meshcode.model.plan import plan_file
from meshcode.model.steps import follow, model_of
from meshcode.units import parse_duration

EMPTY = model_of({})
WANTED = {
    "queue": {"orders": {"message_ttl_ms": 3_600_000, "max_length_bytes": 64 << 20}, "lost": {}},
    "processor": {"shop": {"git": "file:///srv/shop", "module": "shop", "env": {"A": "b"}}},
}
TEXTS = {
    "yaml": """
queues:
  orders: {message_ttl: 1h, max_length_bytes: 64MiB}
  lost:
processors:
  shop: {git: /srv/shop, module: shop, branch: null, env: {A: b}}
""",
    "toml": """
[queues.orders]
message_ttl = "1h"
max_length_bytes = "64MiB"
[queues.lost]
[processors.shop]
git = "/srv/shop"
module = "shop"
env.A = "b"
""",
    "json": """
{"queues": {"orders": {"message_ttl_ms": 3600000, "max_length_bytes": 67108864}, "lost": null},
 "processors": {"shop": {"git": "/srv/shop", "module": "shop", "env": {"A": "b"}}}}
""",
}


def read(folder, name, text):
    (folder / name).write_text(text)
    return read_document(read_files([str(folder / name)]))


@pytest.mark.parametrize("form", FORMATS)
def test_the_formats_say_the_same(form, tmp_path):
    found = read(tmp_path, f"net.{form}", TEXTS[form])

    assert found.wanted == WANTED
    assert found.places["processor", "shop"].startswith(f"{tmp_path}/net.{form}:")


def test_the_example_of_the_documentation_is_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "abc")
    page = Path(__file__).parents[2] / "docs/files.md"
    text = page.read_text().partition("```yaml\n")[2].partition("```")[0]

    wanted = read(tmp_path, "net.yaml", text).wanted

    plan = plan_file(EMPTY, wanted)
    assert plan.problems == []
    assert len(plan.differences) == 7
    assert wanted["processor"]["shop"]["env"] == {"TOKEN": "abc"}


def test_a_folder_and_stdin_are_read(tmp_path, monkeypatch):
    (tmp_path / "a.yml").write_text("queues: {a: }")
    (tmp_path / "b.json").write_text('{"queues": {"b": {}}}')
    (tmp_path / "readme.txt").write_text("not for us")
    for text in ("queues: {c: }", ' {"queues": {"c": {}}}'):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

        found = read_document(read_files([str(tmp_path), "-"]))

        assert list(found.wanted["queue"]) == ["a", "b", "c"]


def test_a_kind_that_is_named_and_empty_is_named(tmp_path):
    assert read(tmp_path, "a.yaml", "queues:\nplugs: {}\n").wanted == {"queue": {}, "plug": {}}
    assert read(tmp_path, "b.yaml", "").wanted == {}


def test_secrets_are_read_where_the_file_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "abc")
    (tmp_path / "key.txt").write_text("line\n\n")
    text = """
processors:
  shop:
    git: {from_env: SHOP_TOKEN}
    env: {TOKEN: {from_env: SHOP_TOKEN}, KEY: {from_file: key.txt}, PLAIN: "${SHOP_TOKEN}"}
"""
    monkeypatch.setenv("SHOP_TOKEN", "/srv/abc")

    found = read(tmp_path, "a.yaml", text)

    shop = found.wanted["processor"]["shop"]
    assert shop["git"] == "file:///srv/abc"
    assert shop["env"] == {"TOKEN": "/srv/abc", "KEY": "line\n", "PLAIN": "${SHOP_TOKEN}"}
    assert found.notes == [
        f"{tmp_path}/a.yaml:5: PLAIN is '${{SHOP_TOKEN}}' as it stands; for a variable of this"
        " shell write {from_env: SHOP_TOKEN}"
    ]


def test_yaml_anchors_and_merges_work(tmp_path):
    text = """
processors:
  a: &common {git: /srv/x, module: m, workers: 2}
  b: {<<: *common, workers: 3}
"""
    found = read(tmp_path, "a.yaml", text).wanted["processor"]

    assert found["b"] == {**found["a"], "workers": 3}


def test_a_plan_is_shown_without_what_is_secret():
    before = {"processor": {"p": {"git": "/x", "module": "m", "env": {"A": "old", "B": "gone"}}},
              "queue": {"q": {"message_ttl_ms": 1_000}, "r": {}}}  # fmt: skip
    model = follow(EMPTY, plan_file(EMPTY, before).steps)
    after = {"processor": {"p": {"git": "/x", "module": "m", "env": {"A": "new", "C": "hidden"}}},
             "queue": {"q": {"max_length": 5}, "s": {"message_ttl_ms": 90_000}}}  # fmt: skip

    plan = plan_file(model, after, prune=["queue"])

    assert lines_of(plan.differences) == [
        "+ queue s  message_ttl=90s",
        "~ queue q  max_length none -> 5, message_ttl 1s -> none",
        "~ processor p  env +C -B ~A",
        "- queue r",
    ]
    assert counts_of(plan.differences) == "1 to add, 2 to change, 1 to delete"
    assert items_of(plan.differences)[2]["options"] == {
        "env": {"from": {"A": "***", "B": "***"}, "to": {"A": "***", "C": "***"}}
    }


NODES = {
    "network": {"n": {}},
    "node": {"alpha": {"network": "n", "host": "host-a"}, "beta": {}},
    "queue": {"q": {"dead_letter": "lost"}, "lost-q": {}, "other": {}},
    "processor": {"p": {}, "p2": {}, "p3": {}},
    "socket": {
        "s": {"processor": "p", "queue": "q"}, "s1": {"processor": "p", "queue": "q"},
        "lost": {"processor": "p3", "queue": "lost-q"}, "t": {"processor": "p2", "queue": "other"},
    },
    "deployment": {
        "d": {"processor": "p", "host": "host-a"}, "e": {"processor": "p2", "host": "beta"},
        "anywhere": {"processor": "p2"},
    },
    "plug": {"in": {"source": "s", "target": "s1"}, "out": {"source": "s", "target": "t"}},
    "gate": {"g": {"plug": "in"}, "h": {"plug": "out"}},
}  # fmt: skip


def test_one_node_has_what_runs_there_and_what_that_needs():
    found = select_nodes(NODES, ["alpha"])

    assert {kind: sorted(objects) for kind, objects in found.items()} == {
        "network": ["n"], "node": ["alpha"], "queue": ["lost-q", "q"], "processor": ["p", "p3"],
        "socket": ["lost", "s", "s1"], "deployment": ["d"], "plug": ["in"], "gate": ["g"],
    }  # fmt: skip


def test_a_node_that_no_file_has_is_refused():
    with pytest.raises(BadData) as caught:
        select_nodes(NODES, ["alhpa"])

    assert caught.value.text == (
        "the files have no node 'alhpa'; did you mean 'alpha'?; they have: alpha, beta, host-a;"
        " nothing was changed"
    )


@given(st.integers(0, 10**12))
def test_a_duration_is_written_as_it_is_read(ms):
    assert parse_duration(duration_text(ms)) == ms


NAMES = st.from_regex(r"[A-Za-z0-9._:/][A-Za-z0-9._:/@-]{0,8}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VARIABLES = st.dictionaries(st.from_regex(r"[A-LN-Za-z_][A-Z0-9_]{0,5}", fullmatch=True), TEXT,
                            max_size=3)  # fmt: skip
WORDS = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=9)


def kept(draw, processor, first, second):
    """What the model keeps beside the network."""
    return {
        "setting": {"retention_age_ms": {"value": draw(st.integers(60_000, 10**10))}},
        "override": {
            f"{processor}.t": {"processor": processor, "task": "t", "code": "def t(): ...\n"}
        },
        "secret": {"key": {"source": "file:/run/secrets/key"}},
        "file": {draw(NAMES): {"content": draw(TEXT), "folder": "a/b"}},
        "flow": {
            draw(NAMES): {
                "document": {
                    "funnel": [{"call": first, "args": [None, draw(TEXT), {"a": 1.5}]}],
                    "body": {"call": second, "kwargs": {"x": [True]}},
                },
            }
        },
    }


@st.composite
def models(draw):
    """A model with every kind in it, names and texts of all sorts."""
    network, queue, other, processor, first, second = (draw(NAMES) for _ in range(6))
    if queue == other:
        other += "x"
    if first == second:
        second += "x"
    times = st.integers(1, 10**10)
    return {
        "network": {network: {"description": draw(WORDS)}},
        "scheduler": {draw(NAMES): {"network": network, "strategy": "EFFICIENT"}},
        "node": {draw(NAMES): {"network": network, "cpus": draw(st.integers(1, 9))}},
        "queue": {
            queue: {"message_ttl_ms": draw(times), "max_length_bytes": draw(times)},
            other: {"overflow": "dead-letter", "dead_letter": first},
        },
        "processor": {
            processor: {
                "git": "file:///srv/x", "module": "a.b", "requirements": draw(WORDS),
                "env": {**draw(VARIABLES), "KEY": "secret:key"},
                "retry_delay_ms": draw(st.integers(0, 5_000)),
                "commit": draw(st.from_regex(r"[0-9]{7,12}", fullmatch=True)),
            }
        },
        "socket": {
            first: {"processor": processor, "task": "t", "queue": queue},
            second: {"processor": processor, "task": "u", "queue": queue, "rate_limit": "5/s"},
        },
        **kept(draw, processor, first, second),
        "deployment": {draw(NAMES): {"processor": processor, "cpus": draw(st.integers(1, 9))}},
        "plug": {"edge": {"source": first, "target": second, "type": "ERROR"}},
        "repo": {
            draw(NAMES): {
                "url": "https://git.example/shop", "access": "allow",
                "signers": "ann@example.org ssh-ed25519 AAAA\n# more\n",
            }
        },
        "gate": {draw(NAMES): {"plug": "edge", "mode": "task", "socket": second}},
        "schedule": {
            "nightly": {
                "socket": first, "cron": "0 3 * * *", "timezone": "Europe/Berlin",
                "jitter_ms": draw(times) % 1000, "end": "2099-12-24T18:00",
                "args": [draw(WORDS), [1, {"a": [draw(TEXT), 1.5, True, []]}], {}],
                "kwargs": {"x": {"from_env": draw(TEXT)}},
            },
        },
        "role": {"operator": {"description": draw(WORDS)}},
        "user": {"ann": {"email": "ann@example.org", "roles": ["operator"], "enabled": False}},
        "privilege": {
            draw(NAMES): {"right": "RUN_TASK", "role": "operator", "on": "processor:x*"},
        },
    }  # fmt: skip


@given(models(), st.sampled_from(FORMATS))
@settings(max_examples=80)
def test_what_is_exported_makes_the_same_model(wanted, form):
    plan = plan_file(EMPTY, wanted)
    assert plan.problems == []
    model = follow(EMPTY, plan.steps)
    assert all(model[kind] for kind in KINDS if kind not in MADE)

    document = to_document(model, KINDS)
    source = _read("model", None, to_text(document, form).encode(), form)
    again = read_document([source]).wanted

    assert follow(EMPTY, plan_file(EMPTY, again).steps) == model
    assert plan_file(model, again).differences == []


def test_a_part_is_exported_and_secrets_are_named():
    model = follow(EMPTY, plan_file(EMPTY, WANTED).steps)

    assert list(to_document(model, ["processor"])) == ["processors"]
    assert secrets_in(model, KINDS) == ["processor 'shop'"]
    assert secrets_in(model, ["queue"]) == []


def test_every_time_of_the_model_can_be_written_without_its_unit():
    """An option that ends with _ms and one of the same name without it would be confused."""
    for kind in KINDS:
        names = [option.removesuffix("_ms") for option in FIELDS[kind]]
        assert len(set(names)) == len(names), kind
    assert len(set(PLURALS.values())) == len(KINDS)
