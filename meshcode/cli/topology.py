"""Networks and what belongs to them, plugs and gates: `mesh add|update|delete|get|ls ...`."""

from __future__ import annotations

import click

from meshcode.cli.noun import Noun, entries
from meshcode.cli.objects import Field, column

_TEXT = click.STRING
_NETWORK = Field(("--network",), "network", _TEXT, "Network it belongs to.", metavar="NETWORK")

NETWORK = Noun(
    "network",
    [Field(("--description",), "description", _TEXT, "A few words.", metavar="TEXT")],
    [column("name"), column("description"), column("owner")],
    what="nodes, queues and schedulers that belong together, and are deleted together.",
    example="shop --description 'everything of the shop'",
)
SCHEDULER = Noun(
    "scheduler",
    [
        Field(
            ("-s", "--strategy"), "strategy", click.Choice(["BALANCED", "EFFICIENT"]),
            "How its nodes are filled.  [default: BALANCED]",
        ),
        _NETWORK,
    ],
    [column("name"), column("strategy"), column("network")],
    what="how deployments are spread over its nodes.",
    example="even -s BALANCED",
)  # fmt: skip
NODE = Noun(
    "node",
    [
        Field(("-h", "--hostname"), "host", _TEXT, "Host it is to run on.", metavar="HOST"),
        Field(("-c", "--cpus"), "cpus", click.INT, "CPUs it may use.", metavar="N"),
        Field(("--scheduler",), "scheduler", _TEXT, "Its scheduler.", metavar="SCHEDULER"),
        _NETWORK,
    ],
    [column("name"), column("host"), column("cpus"), column("scheduler"), column("network")],
    what="what is wanted of the node of that name.",
    example="n1 -h localhost -c 4",
)
PLUG = Noun(
    "plug",
    [
        Field(
            ("-s", "--source"), "source", _TEXT, "Socket whose outcomes it takes.", required=True,
            metavar="SOCKET",
        ),
        Field(
            ("-t", "--target"), "target", _TEXT, "Socket that is called with them.",
            required=True, metavar="SOCKET",
        ),
        Field(("-q", "--queue"), "queue", _TEXT, "Queue between them.", metavar="QUEUE"),
        Field(
            ("--type",), "type", click.Choice(["RESULT", "ERROR"]),
            "Which outcomes.  [default: RESULT]",
        ),
        Field(
            ("-a", "--argument"), "argument", _TEXT, "Parameter of the target that it fills.",
            metavar="PARAMETER",
        ),
    ],
    [column("name"), column("source"), column("target"), column("type"), column("argument"),
     column("queue")],
    what="the outcome of a socket becomes an argument of another one.",
    example="p1 -s shop.clean -t shop.price -q prices",
)  # fmt: skip
GATE = Noun(
    "gate",
    [
        Field(("-p", "--plug"), "plug", _TEXT, "Edge it is on.", required=True, metavar="PLUG"),
        Field(
            ("-m", "--mode"), "mode", click.Choice(["open", "closed", "task"]),
            "What it does.  [default: open]",
        ),
        Field(("-s", "--socket"), "socket", _TEXT, "Who decides, for `task`.", metavar="SOCKET"),
    ],
    [column("name"), column("plug"), column("mode"), column("socket")],
    what="a condition on an edge: open, closed, or decided by a task.",
    example="night -p p1 -m closed",
)  # fmt: skip

globals().update(entries({n.kind: n for n in (NETWORK, SCHEDULER, NODE, PLUG, GATE)}))
