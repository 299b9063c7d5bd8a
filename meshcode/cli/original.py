"""What the original's command `flow` had and `mesh` has no use for: what to do instead.

Looked up when somebody types it: a command of COMMANDS and an option of OPTIONS are refused with
status 2, and with these words in the place of "no such command".  So is a right of RIGHTS.
"""

from __future__ import annotations

_TASKS = "a task is a function of a processor's module; `mesh add socket` makes it callable"
_AGENT = "a node is its own agent"
_CALLS = "`mesh call cancel ID` ends one; ended calls are forgotten after their time"
_HTTP = "a node answers no HTTP; call sockets with `mesh run` or the client library"
_BROKER = "there is no broker and no result store: the node keeps calls and results itself"
PASSWORD = (
    "a password is never an argument: --password asks for it, --password-file FILE or"
    " $MESH_PASSWORD has it"
)  # fmt: skip
_CONTAINER = "code runs in an environment of its own, not in a container"
_THIS = "it is the node of this home; another: `mesh --home DIR`"
_ID = "name it, or give its id with --id to the commands that take one object"

COMMANDS = {
    "mesh add argument": "the parameters of a task are read from its code; `mesh update plug -n"
    " PLUG -a PARAMETER` binds a plug to one",
    "mesh add task": _TASKS,
    "mesh add agent": f"{_AGENT}: `mesh up` on its host is all; `mesh add node` declares one",
    "mesh add log": "what tasks print is kept by itself: `mesh logs SOCKET`",
    "mesh delete calls": _CALLS,
    "mesh delete task": f"{_TASKS}, `mesh delete socket` ends that",
    "mesh delete agent": f"{_AGENT}: `mesh down` stops it, `mesh node evict` puts it out for ever",
    "mesh delete worker": "how many there are is declared: `mesh update processor -w`; `mesh worker"
    " kill` replaces one",
    "mesh ls passwords": "nobody sees a password: `mesh ls users` and `mesh ls processors -o json`"
    " say who has one",
    "mesh api": _HTTP,
    "mesh web": _HTTP,
}
_GLOBAL = {
    ("-d", "--db"): "say `mesh --set model=URI`; a URI with a password belongs in $MESH_MODEL",
    ("--backend", "--broker", "-a", "--api"): _BROKER,
    ("-u", "--user"): "`mesh login -n USER` makes this shell a user",
    ("-p", "--password"): PASSWORD,
    ("-i", "--ini", "-c", "--config"): "`mesh config init` asks for settings and writes the file,"
    " `mesh --context NAME` chooses one, `mesh --set NAME=VALUE` goes before all",
    ("--debug",): "errors name what to do; the log of the node is in `log/` of its home",
}
_START = {
    ("-h",): "a node is started on its own host: `ssh HOST mesh up`, once `mesh join` has let it"
    " into the mesh",
    ("-p", "--port", "-wp", "-c", "--config", "-n", "-b", "-r", "-q", "-u", "-po", "-cp", "-s",
     "--clean"): f"{_AGENT} and needs no broker, port or pool; its settings are in `mesh"
    " config explain`, its CPUs in `mesh add node -n NAME -c N`",
}  # fmt: skip
OPTIONS: dict[str, dict[tuple[str, ...], str]] = {
    "mesh": _GLOBAL,
    "mesh db init": {("-r", "--rls"): "row-level security is always on in Postgres, and rows are"
                     " hidden by the same rules on SQLite"},
    "mesh login": {("-d",): "a login is of the node's mesh: choose it with `mesh --home DIR`"},
    "mesh add processor": {
        ("-b", "--beat"): "there is no beat process: the mesh fires schedules by itself; make one"
        " with `mesh add schedule -n NAME -s SOCKET -i 5s`",
        ("-e", "--endpoint", "-a", "--api"): _HTTP,
        ("-p",): PASSWORD,
    },
    "mesh update processor": {
        ("-b", "--beat"): "there is no beat process: `mesh add schedule` has a socket called",
        ("-h", "--hostname"): "a processor has no host: `mesh add deployment -n NAME -h HOST`",
        ("-co", "-ci", "-cv"): _CONTAINER,
    },
    "mesh proc": {
        ("--id", "-n", "--name"): "it is of the command behind it: `mesh proc stop -n NAME`, or"
        " `--id ID`"
    },
    "mesh scheduler": {
        ("-n", "--name", "--id"): "it is of the command behind it: `mesh scheduler add -n NAME -nd"
        " NODE`"
    },
    "mesh add socket": {
        ("-c",): "how many of its calls may run at once is --concurrency N; how many workers there"
        " are is of its processor: `mesh update processor -w N`",
    },
    "mesh add user": {("-p",): PASSWORD},
    "mesh update user": {("-p",): PASSWORD},
    "mesh update task": {
        ("-c",): "give a file, or - for stdin: `mesh update task NAME --code -`",
        ("-m", "--module"): "a task is of its processor's module: `mesh update processor -m`",
    },
    "mesh update socket": {("-pi",): "name the processor: -pn NAME"},
    "mesh update plug": {
        ("-pi", "-pn"): "a plug belongs to the processor of its source; give another with -s SOCKET"
    },
    "mesh task run": {
        ("-f", "--format"): "`-o json|yaml|raw|repr` is how the result is printed",
        ("-sy", "--sync"): "`mesh run --flow NAME|FILE` runs what is composed of several sockets",
    },
    "mesh scheduler add": {("--id",): _ID},
    "mesh scheduler start": {
        ("-i", "--interval", "-nd", "--nodeployments", "-c", "--class"): "there is no loop: each"
        " node acts on the model by itself, at once"
    },
    "mesh agent start": _START,
    "mesh agent kill": {("-n", "--name"): _THIS},
    "mesh agent stop": {("-n", "--name"): _THIS},
    "mesh worker start": {
        ("-a", "-h", "-p", "-s", "--skip-venv", "-q"): "workers are started by their nodes; how"
        " many is declared: `mesh update processor -w N`, or by deployments"
    },
    "mesh ls roles": {("-p", "-r", "-a"): "the list is whole: `mesh ls roles | head`, or -o json"},
    "mesh ls task": {
        ("-s", "-p", "-so"): "it shows the module, the processor and the sockets; -c the source, -g"
        " the tree"
    },
    "mesh node clone": {("-t",): "name both: `mesh node clone SOURCE TARGET`"},
}  # fmt: skip


# Rights of the original that have another name here, or none.
RIGHTS = {
    "DB_DROP": "dropping the model needs ALL",
    "DB_INIT": "making the model needs ALL",
    "START_AGENT": "a node is started by who owns its home; ADMIN_NODE drains and stops nodes",
    "VIEW_PROCESSOR": "READ_PROCESSOR shows one, LS_PROCESSORS lists them",
    "VIEW_PROCESSOR_CONFIG": "READ_PROCESSOR shows one with all of its fields",
    "EDIT_PROCESSOR_CONFIG": "UPDATE_PROCESSOR changes one",
    "EDIT_PROCESSOR_CODE": "UPDATE_TASK puts other code in the place of a task's",
    "LS_USER": "READ_USER shows one, LS_USERS lists them",
    "LS_AGENTS": "a node is its own agent: LS_NODES",
    "ADD_AGENT": "a node is its own agent: ADD_NODE",
    "UPDATE_AGENT": "a node is its own agent: UPDATE_NODE",
    "DELETE_AGENT": "a node is its own agent: DELETE_NODE",
    "READ_AGENT": "a node is its own agent: READ_NODE",
}


def of_right(name: str) -> str | None:
    """What to give instead of a right of the original; None when it had none of that name."""
    return RIGHTS.get(name.upper())


def of_command(path: str) -> str | None:
    """What to do instead of a command, by its words; None when the original had none."""
    return COMMANDS.get(path)


def of_option(path: str, flag: str) -> str | None:
    """What to do instead of an option of a command."""
    for flags, text in OPTIONS.get(path, {}).items():
        if flag in flags:
            return text
    return None
