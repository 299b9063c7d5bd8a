"""Compose files of ElasticCode: what they declare in our words, and what is named as left out."""

from __future__ import annotations

import pytest

from meshcode.cli.files.compose import read_compose
from meshcode.cli.files.reading import read_files
from meshcode.client.objects.queue import Queue
from meshcode.errors import BadData
from meshcode.model.plan import plan_file
from meshcode.model.steps import model_of

# Every key that the original reads or accepts.
WHOLE = """
version: 1
network:
  name: demo
  scheduler: {name: even, strategy: EFFICIENT}
  queues:
    q.in: {message_ttl: 60000, durable: true, expires: 600}
    q.out:
  processors:
    anywhere: {module: shop.any, branch: main, gitrepo: 'https://git.example/any', beat: true}
  nodes:
    alpha:
      hostname: host-a
      path: /srv/a
      ini: a.ini
      polar: a.polar
      ssh: {user: u, key: k}
      enabled: true
      clean: true
      deploy: true
      agents:
        a1:
          parameters: {x: 1}
          build: true
          processors:
            clean:
              module: shop.steps
              branch: main
              gitrepo: https://git.example/shop
              pyfirepo: x
              beat: false
              cpus: 2
              commit: abc
              workers: 3
              status: running
              requested_status: ready
              container_image: python
              container_version: 3
              use_container: false
              detached: true
              sockets:
                clean.tidy:
                  interval: -1
                  queue: {name: q.in}
                  task: {function: {name: tidy, arguments: true}}
                clean.fold: {queue: {name: q.late}, task: {function: {name: fold}}}
    beta:
      agents:
        b1: {processors: {sort: {module: s, branch: main, gitrepo: /srv/s, beat: false}}}
    gamma: {enabled: false, agents: {c1: {processors: {off1: {module: n}}}}}
  deployments:
    any.d1: {hostname: host-b, cpus: 4, processor: anywhere}
  plugs:
    p1: {source: clean.tidy, target: clean.fold, argument: text, queue: {name: q.out}, enabled: yes}
services: {}
"""


def compose(folder, text, *, deploy=False, nodes=()):
    (folder / "net.yaml").write_text(text)
    (source,) = read_files([str(folder / "net.yaml")])
    return read_compose(source, deploy=deploy, nodes=nodes)


def test_all_of_it_is_read(tmp_path):
    found = compose(tmp_path, WHOLE)

    assert found.document.wanted == {
        "network": {"demo": {}},
        "scheduler": {"even": {"strategy": "EFFICIENT", "network": "demo"}},
        "queue": {
            "q.in": {"message_ttl_ms": 60_000_000, "network": "demo"},
            "q.out": {"network": "demo"},
        },
        "processor": {
            "anywhere": {
                "git": "https://git.example/any", "module": "shop.any", "branch": "main",
            },
            "clean": {
                "git": "https://git.example/shop", "module": "shop.steps", "branch": "main",
                "workers": 2,
            },
            "sort": {"git": "file:///srv/s", "module": "s", "branch": "main"},
        },
        "node": {
            "alpha": {"host": "host-a", "scheduler": "even", "network": "demo"},
            "beta": {"scheduler": "even", "network": "demo"},
        },
        "socket": {
            "clean.tidy": {"processor": "clean", "task": "tidy", "queue": "q.in"},
            "clean.fold": {"processor": "clean", "task": "fold", "queue": "q.late"},
        },
        "deployment": {"any.d1": {"processor": "anywhere", "host": "host-b", "cpus": 4}},
        "plug": {
            "p1": {
                "source": "clean.tidy", "target": "clean.fold", "argument": "text",
                "queue": "q.out",
            }
        },
    }  # fmt: skip
    assert found.implied == {"q.late"}
    assert found.placed == {"alpha": {"clean"}, "beta": {"sort"}, "gamma": set()}
    assert found.document.places["socket", "clean.fold"] == f"{tmp_path}/net.yaml:46"


def test_what_has_no_effect_is_named_with_its_place(tmp_path):
    found = compose(tmp_path, WHOLE)

    assert set(found.ignored) == {
        "version", "durable", "beat", "path", "ini", "polar", "ssh", "clean", "deploy",
        "parameters", "pyfirepo", "commit", "workers", "status", "requested_status",
        "container_image", "container_version", "use_container", "detached",
        "arguments", "enabled: false", "enabled", "services", "expires",
    }  # fmt: skip
    assert found.ignored["beat"] == (f"{tmp_path}/net.yaml:10", 3)


def test_an_interval_is_a_schedule_of_the_sockets_name(tmp_path):
    text = WHOLE.replace("clean.fold: {", "clean.fold: {interval: 1.5, ")
    found = compose(tmp_path, text)

    assert found.document.wanted["schedule"] == {
        "clean.fold": {"socket": "clean.fold", "interval_ms": 1_500, "args": ["message"]}
    }
    assert "interval" not in found.ignored
    for wrong in ("0", "-5", "'soon'", "[1]"):
        with pytest.raises(BadData) as caught:
            compose(tmp_path, text.replace("1.5", wrong))
        assert caught.value.text == (
            f"{tmp_path}/net.yaml:46: interval is {wrong}; it must be a number of seconds above 0;"
            " nothing was changed"
        )


def test_deploying_places_the_processors_of_a_node_there(tmp_path):
    found = compose(tmp_path, WHOLE, deploy=True)

    assert found.document.wanted["deployment"] == {
        "clean@alpha": {"processor": "clean", "host": "host-a", "cpus": 2},
        "sort@beta": {"processor": "sort", "host": "beta"},
        "any.d1": {"processor": "anywhere", "host": "host-b", "cpus": 4},
    }


def test_deploying_gives_what_has_no_host_to_the_scheduler(tmp_path):
    text = WHOLE.replace("  deployments:\n    any.d1: {hostname: host-b, cpus: 4, processor: any"
                         "where}\n", "")  # fmt: skip
    assert text != WHOLE
    placed = {"processor": "anywhere", "scheduler": "even", "cpus": 3}
    text = text.replace("beat: true}", "beat: true, cpus: 3}")

    assert compose(tmp_path, text, deploy=True).document.wanted["deployment"] == {
        "anywhere@even": placed,
        "clean@alpha": {"processor": "clean", "host": "host-a", "cpus": 2},
        "sort@beta": {"processor": "sort", "host": "beta"},
    }
    assert "deployment" not in compose(tmp_path, text).document.wanted
    for without in ("", "  scheduler: {name: other}\n"):
        there = text.replace("  scheduler: {name: even, strategy: EFFICIENT}\n", without)
        found = compose(tmp_path, there, deploy=True).document.wanted["deployment"]
        other = {"anywhere@other": {**placed, "scheduler": "other"}} if without else {}
        assert {n: o for n, o in found.items() if n.startswith("anywhere")} == other


def test_what_the_file_deploys_itself_is_not_deployed_twice(tmp_path):
    text = WHOLE.replace("  plugs:", "    by.hand: {hostname: host-a, processor: clean}\n  plugs:")

    found = compose(tmp_path, text, deploy=True).document.wanted["deployment"]

    assert sorted(found) == ["any.d1", "by.hand", "sort@beta"]


def test_one_node_is_built_without_the_others(tmp_path):
    found = compose(tmp_path, WHOLE, nodes=["beta"])

    assert list(found.document.wanted["node"]) == ["beta"]
    assert list(found.document.wanted["processor"]) == ["sort"]


def test_the_example_of_the_original_has_a_plug_that_goes_round(tmp_path):
    """Which we say; it can be read all the same."""
    text = WHOLE.replace("target: clean.fold", "target: clean.tidy")
    wanted = compose(tmp_path, text).document.wanted
    wanted["queue"]["q.late"] = {}

    plan = plan_file(model_of({}), wanted)

    assert [problem.text for problem in plan.problems] == [
        "plug 'p1' would go round: clean.tidy -> clean.tidy; give another target"
    ]


def test_a_queue_is_that_which_the_same_options_make_in_python(tmp_path):
    """Seconds; what deleted an unused queue there ends no call here and is named instead."""
    text = "queues: {q: {message_ttl: 2000, durable: true, expires: 3000}}"

    found = compose(tmp_path, text)

    with pytest.warns(DeprecationWarning, match="expires of a queue is not used"):
        in_python = Queue._given([], {"message_ttl": 2000, "durable": True, "expires": 3000})
    assert in_python["message_ttl_ms"] == 2_000_000 and "expires_ms" not in in_python
    assert found.document.wanted["queue"]["q"] == {"message_ttl_ms": 2_000_000}
    assert found.ignored["expires"] == (f"{tmp_path}/net.yaml:1", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("networks: {}", ":1: the file has no 'networks'; did you mean 'network'?; it has: network,"
         " scheduler, queues, processors, nodes, deployments, plugs; nothing was changed"),
        ("network: {name: a, queue: {}}", ":1: network has no 'queue'; did you mean 'queues'?; it"
         " has: name, scheduler, queues, processors, nodes, deployments, plugs; nothing was"
         " changed"),
        ("network: [a]", ":1: network is ['a']; it must be a map; nothing was changed"),
        ("network: {queues: {q: {ttl: 5}}}",
         ":1: q has no 'ttl'; it has: message_ttl; nothing was changed"),
        ("network: {queues: {q: {message_ttl: soon}}}",
         ":1: message_ttl is 'soon'; it must be a number of seconds above 0; nothing was changed"),
        ("network: {queues: {q: {message_ttl: -5}}}",
         ":1: message_ttl is -5; it must be a number of seconds above 0; nothing was changed"),
        ("network: {queues: {q: {message_ttl: 400000000}}}",
         ":1: queue 'q': message_ttl_ms is 400000000000; it must be a whole number from 1 to"
         " 315360000000 milliseconds; nothing was changed"),
        ("network: {queues: [q]}", ":1: queues is ['q']; it must be a map of names; nothing was"
         " changed"),
        ("network: {scheduler: {strategy: EVEN}}",
         ":1: scheduler has no name; give one; nothing was changed"),
        ("network:\n processors:\n  p: {modul: a}", ":3: p has no 'modul'; did you mean 'module'?;"
         " it has: module, branch, gitrepo, cpus, sockets; nothing was changed"),
        ("network:\n processors:\n  p: {cpus: two}", ":3: processor 'p': workers is 'two'; it must"
         " be a whole number from 1 to 256; nothing was changed"),
        ("nodes:\n a: {agents: {x: {processors: {p: {cpus: 1}}}}}\n"
         " b: {agents: {x: {processors: {p: {cpus: 2}}}}}",
         ":3: processor 'p' stands in line 2 with other options; nothing was changed"),
    ],
)  # fmt: skip
def test_a_wrong_compose_file_is_refused(text, message, tmp_path):
    with pytest.raises(BadData) as caught:
        compose(tmp_path, text)

    assert caught.value.text == f"{tmp_path}/net.yaml{message}"
