"""What the model has beside code and its sockets: networks, plugs, gates, rules for code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meshcode.cli import output
from meshcode.cli.noun import Noun, entries
from meshcode.cli.objects import LABELS, Field
from meshcode.cli.output import column
from meshcode.errors import MeshError

_TEXT = click.STRING


def _fitting(client: Any, plug: Mapping[str, Any]) -> None:
    """Say when the target of a plug, as this node knows its code, has not the argument it fills."""
    from meshcode.client.fitting import plug_problem

    if problem := plug_problem(client, plug):
        output.say(f"mesh: {problem}; `mesh update plug -a` gives another")
    if plug.get("type") != "ERROR":
        _tell_streaming(client, str(plug["source"]))


def _tell_streaming(client: Any, source: str) -> None:
    """Say what a plug of a generator changes for those who call it."""
    try:
        kind = client.ask("socket.describe", name=source).get("kind")
    except MeshError:  # Not declared yet, or not to be seen.
        return
    if kind in ("generator", "async_generator"):
        output.say(f"mesh: {source} is a generator, whose items are calls of their own while it has"
                   ' a plug: who calls it gets {"items": COUNT, "stream": ID} and no list of them;'
                   " `mesh call get ID --stream`, and `call.stream()`, give the items")  # fmt: skip


_NETWORK = Field(("--network",), "network", _TEXT, "Network it belongs to.", metavar="NETWORK")

NETWORK = Noun(
    "network",
    [Field(("--description",), "description", _TEXT, "A few words.", metavar="TEXT"), LABELS],
    [column("name"), column("description"), column("owner")],
    what="nodes, queues and schedulers that belong together, and are deleted together.",
    example="shop --description 'everything of the shop'",
)
SCHEDULER = Noun(
    "scheduler",
    [
        Field(
            ("-s", "--strategy"), "strategy", click.Choice(["BALANCED", "EFFICIENT"]),
            "Fill the node with the fewest, or the first with room.  [default: BALANCED]",
        ),
        _NETWORK,
    ],
    [column("name"), column("strategy"), column("network")],
    what="how the CPUs of its deployments are spread over its nodes.",
    example="even -s BALANCED",
)  # fmt: skip
NODE = Noun(
    "node",
    [
        Field(
            ("-h", "--hostname"), "host", _TEXT, "Host: the node that runs there is this one.",
            metavar="HOST",
        ),
        Field(("-c", "--cpus"), "cpus", click.INT, "CPUs it may use.", metavar="N"),
        Field(("--scheduler",), "scheduler", _TEXT, "Its scheduler.", metavar="SCHEDULER"),
        _NETWORK,
        LABELS,
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
    then=_fitting,
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
        Field(
            ("--when-closed",), "when_closed", click.Choice(["hold", "reject"]),
            "What becomes of what comes.  [default: hold]",
        ),
    ],
    [column("name"), column("plug"), column("mode"), column("socket"), column("when_closed")],
    what="a condition on an edge: open, closed, or decided by a task.",
    example="night -p p1 -m closed",
)  # fmt: skip



class _TextOf(click.ParamType):
    """The content of a file."""

    name = "file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Its text; refuses a file that cannot be read."""
        try:
            with open(value, encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"{value} cannot be read: {error}", param, ctx)


REPO = Noun(
    "repo",
    [
        Field(
            ("-u", "--url"), "url", _TEXT, "A repository, or a folder of them.", required=True,
            metavar="URL",
        ),
        Field(
            ("-a", "--access"), "access", click.Choice(["allow", "deny"]),
            "One deny refuses; one allow anywhere refuses all that none covers.",
        ),
        Field(
            ("--signers",), "signers", _TextOf(),
            "File of allowed signers, as ssh-keygen has it: unsigned commits are refused.",
            metavar="FILE",
        ),
        Field(
            ("--credential",), "credential", _TEXT,
            "Where it is on each host: secret:NAME, env:NAME, file:/PATH or key:/PATH.",
            metavar="REFERENCE",
        ),
    ],
    [column("name"), column("url"), column("access"), column("credential")],
    what="a rule about code: which repositories may be mounted, and whose commits.",
    example="ours -u https://git.example.org/shop -a allow",
)  # fmt: skip

globals().update(entries({n.kind: n for n in (NETWORK, SCHEDULER, NODE, PLUG, GATE, REPO)}))
