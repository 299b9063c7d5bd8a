"""What the model has beside code and its sockets: networks, plugs, gates, rules for code."""

from __future__ import annotations

from typing import Any

import click

from meshcode.cli import output
from meshcode.cli.noun import Noun, entries
from meshcode.cli.objects import LABELS, Field, column
from meshcode.cli.session import session
from meshcode.errors import MeshError

_TEXT = click.STRING
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


class _Plugs(Noun):
    """Says so when the function that a plug leads to has no such argument."""

    def _add(self, what: str, example: str) -> click.Command:
        made = super()._add(what, example)
        add = made.callback
        assert add is not None

        def add_and_tell(**given: Any) -> None:
            add(**given)
            if given.get("argument"):
                _check_argument(given["target"], given["argument"])

        made.callback = add_and_tell
        return made


def _check_argument(socket: str, argument: str) -> None:
    """Warn of an argument that the code which is mounted now does not take."""
    with session() as client:
        try:
            signature = client.ask("socket.describe", name=socket).get("signature")
        except MeshError:  # Its code need not be there, nor open to who declares plugs.
            return
    if not isinstance(signature, dict):
        return
    known = [(name, kind) for name, kind, _ in signature.get("args", ())]
    if not any(kind == "varkw" or (name == argument and kind in ("pos", "kwonly"))
               for name, kind in known):  # fmt: skip
        output.say(
            f"mesh: {socket}{signature.get('text', '')} has no argument {argument!r}, so what comes"
            " along this plug will fail there; change one of the two"
        )


PLUG = _Plugs(
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
            "Where it is on each host: env:NAME, file:/PATH or key:/PATH.", metavar="REFERENCE",
        ),
    ],
    [column("name"), column("url"), column("access"), column("credential")],
    what="a rule about code: which repositories may be mounted, and whose commits.",
    example="ours -u https://git.example.org/shop -a allow",
)  # fmt: skip

globals().update(entries({n.kind: n for n in (NETWORK, SCHEDULER, NODE, PLUG, GATE, REPO)}))
