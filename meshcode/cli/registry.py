"""Every command of `mesh`: its name, its help line, and the module that holds it.

Nothing is imported from here but the two tuples; a test checks that each entry exists.
"""

from __future__ import annotations

from meshcode.cli.lazy import Command, Group

_QUEUE = "meshcode.cli.queue"
_PROCESSOR = "meshcode.cli.processor"
_SOCKET = "meshcode.cli.socket"
_DEPLOYMENT = "meshcode.cli.deployment"
_TASK = "meshcode.cli.task"
_CALL = "meshcode.cli.call"
_SHOW_CALL = "meshcode.cli.showcall"
_FLOW = "meshcode.cli.flow"
_NODE = "meshcode.cli.node"
_MESH = "meshcode.cli.mesh"
_NODES = "meshcode.cli.nodes"
_SALVAGE = "meshcode.cli.salvage"
_TOPOLOGY = "meshcode.cli.topology"
_FILES = "meshcode.cli.files.commands"
_DB = "meshcode.cli.db"
_USER = "meshcode.cli.user"
_AGENT = "meshcode.cli.agent"
_BELONGING = "meshcode.cli.belonging"
_LIVE = "meshcode.cli.live"
_SCHEDULE = "meshcode.cli.schedule"
_KEPT = "meshcode.cli.kept"
_TREES = "meshcode.cli.trees"
_CONFIG = "meshcode.cli.config"
_CONTEXT = "meshcode.cli.context"

# Kinds whose commands are all made from one table (`noun.py`): the module of each.
_NOUNS = {
    **dict.fromkeys(("network", "scheduler", "node", "plug", "gate", "repo"), _TOPOLOGY),
    "schedule": _SCHEDULE,
    **dict.fromkeys(("role", "user", "privilege"), _USER),
    **dict.fromkeys(("setting", "secret", "file", "flow"), _KEPT),
}


def _nouns(verb: str, text: str) -> dict[str, Command]:
    return {
        kind: Command(f"{module}:{verb}_{kind}", f"{text} a {kind}.")
        for kind, module in _NOUNS.items()
    }


# Verbs of the original system that have no place of their own above.
_ORIGINAL_LS = {
    "agents": Command(f"{_NODES}:ls_nodes", "List the nodes: another name for `ls nodes`."),
    "agent": Command(f"{_TREES}:ls_node", "Show a declared node: another name for `ls node`."),
    "job": Command(f"{_SHOW_CALL}:ls_call", "Show a call: another name for `ls call`."),
    "worker": Command(f"{_AGENT}:ls_worker", "Show a worker process."),
    "stats": Command(f"{_LIVE}:ls_stats", "List sockets with what waits and runs there now."),
    "cpus": Command(f"{_LIVE}:ls_cpus", "List CPUs with the workers pinned to them."),
    "jobs": Command("meshcode.cli.jobs:ls_jobs", "List what runs next, and calls that wait."),
    "work": Command(f"{_LIVE}:ls_work", "List calls that run now."),
    "task": Command(f"{_TASK}:ls_task", "Show a task, its sockets and its code."),
}
_SCHEDULING = {
    "start": Command("meshcode.cli.scheduling:scheduler_start", "Show what schedules, and what."),
}
_ORIGINAL = {
    "agent": Group(
        "The node of this host, under the original system's name.",
        {
            "start": Command(f"{_AGENT}:start", "Start the node: another name for `mesh up`."),
            "stop": Command(f"{_AGENT}:stop", "Stop the node: another name for `mesh down`."),
            "kill": Command(f"{_AGENT}:kill", "Stop it without waiting: `mesh down --now`."),
        },
    ),
    "worker": Group(
        "Worker processes of this node.",
        {
            "start": Command(f"{_AGENT}:worker_start", "Start the workers of a processor."),
            "kill": Command(f"{_AGENT}:worker_kill", "End a worker; a fresh one takes its place."),
        },
    ),
    **{
        kind: Group(
            f"The nodes of a {kind}.",
            {
                "add": Command(f"{_BELONGING}:{kind}_add", f"Let a node belong to a {kind}."),
                "remove": Command(f"{_BELONGING}:{kind}_remove", f"Take a node out of a {kind}."),
                **(_SCHEDULING if kind == "scheduler" else {}),
            },
        )
        for kind in ("network", "scheduler")
    },
    "listen": Command("meshcode.cli.listen:listen", "Print what happens, as JSON lines."),
}

COMMANDS = {
    "dev": Command("meshcode.cli.dev:dev", "Run a throw-away node in this terminal."),
    "up": Command(f"{_NODE}:up", "Start the node of this user in the background."),
    "down": Command(f"{_NODE}:down", "Finish what runs and stop the node."),
    "status": Command(f"{_NODE}:status", "Say what the node is doing."),
    "init": Command(f"{_MESH}:init", "Make a mesh, with this node as its first member."),
    "invite": Command(f"{_MESH}:invite", "Print the line by which one other node can join."),
    "join": Command(f"{_MESH}:join", "Join the mesh of an invitation."),
    "nodes": Command(f"{_NODES}:ls_nodes", "List the nodes of the mesh."),
    "node": Group(
        "Let a node go, drain, clone or change its keys; put one out of the mesh.",
        {
            "leave": Command(f"{_NODES}:leave", "Say good-bye to the others, then stop the node."),
            "drain": Command(f"{_NODES}:drain", "Take no new calls; finish what runs, and stay."),
            "evict": Command(f"{_NODES}:evict", "Put a node out of the mesh for ever."),
            "rotate-key": Command("meshcode.cli.rotation:rotate_key", "Give this node new keys."),
            "admit": Command("meshcode.cli.admit:admit", "Let this node invite and evict, too."),
            "clone": Command("meshcode.cli.clone:clone", "Declare for a node what another has."),
        },
    ),
    "recover": Command(f"{_SALVAGE}:recover", "List calls that wait for a person; free lost ones."),
    "salvage": Command(f"{_SALVAGE}:salvage", "Export what only a stopped node kept; submit it."),
    "login": Command("meshcode.cli.login:login", "Become a user of the mesh for some hours."),
    "logout": Command("meshcode.cli.login:logout", "End the login; with --all, every one."),
    "whoami": Command("meshcode.cli.login:whoami", "Say who this shell is to the node."),
    "audit": Group(
        "Show and check who did what on this node.",
        {
            "show": Command("meshcode.cli.audit:show", "Show the newest lines of the audit log."),
            "verify": Command("meshcode.cli.audit:verify", "Check that no line was touched."),
        },
    ),
    "demo": Command(
        "meshcode.cli.demo:demo", "Show that nothing is lost when processes are killed."
    ),
    "doctor": Command("meshcode.cli.doctor:doctor", "Check this machine and say what to fix."),
    "version": Command("meshcode.cli.version:version", "Print the versions of everything in use."),
    "add": Group(
        "Add an object to the model.",
        {
            "queue": Command(f"{_QUEUE}:add", "Add a queue."),
            "processor": Command(
                f"{_PROCESSOR}:add", "Add a processor: a git repository and a module."
            ),
            "socket": Command(f"{_SOCKET}:add", "Add a socket: a callable endpoint of a task."),
            "deployment": Command(f"{_DEPLOYMENT}:add", "Give a processor CPUs on a host."),
            **_nouns("add", "Add"),
        },
    ),
    "update": Group(
        "Change an object of the model; the node follows without a restart.",
        {
            "queue": Command(f"{_QUEUE}:update", "Change a queue."),
            "processor": Command(f"{_PROCESSOR}:update", "Change a processor."),
            "socket": Command(f"{_SOCKET}:update", "Change a socket."),
            "deployment": Command(f"{_DEPLOYMENT}:update", "Change a deployment."),
            "task": Command("meshcode.cli.override:update", "Put other code in a task's place."),
            **_nouns("update", "Change"),
        },
    ),
    "delete": Group(
        "Remove an object from the model.",
        {
            "queue": Command(f"{_QUEUE}:delete", "Remove a queue."),
            "processor": Command(f"{_PROCESSOR}:delete", "Remove a processor."),
            "socket": Command(f"{_SOCKET}:delete", "Remove a socket."),
            "deployment": Command(f"{_DEPLOYMENT}:delete", "Remove a deployment."),
            **_nouns("delete", "Remove"),
        },
    ),
    "get": Group(
        "Show one object of the model.",
        {
            "queue": Command(f"{_QUEUE}:get", "Show a queue."),
            "processor": Command(f"{_PROCESSOR}:get", "Show a processor."),
            "socket": Command(f"{_SOCKET}:get", "Show a socket."),
            "deployment": Command(f"{_DEPLOYMENT}:get", "Show a deployment."),
            **_nouns("get", "Show"),
            "version": Command(f"{_KEPT}:get_version", "Show what a file or flow was."),
        },
    ),
    "ls": Group(
        "List objects, calls, nodes and workers.",
        {
            "queues": Command(f"{_QUEUE}:ls_queues", "List queues."),
            "queue": Command(f"{_QUEUE}:ls_queue", "Show a queue and its sockets."),
            "processors": Command(f"{_PROCESSOR}:ls_processors", "List processors."),
            "processor": Command(f"{_PROCESSOR}:ls_processor", "Show a processor and its sockets."),
            "sockets": Command(f"{_SOCKET}:ls_sockets", "List sockets."),
            "socket": Command(f"{_SOCKET}:ls_socket", "Show a socket: task, signature, limits."),
            "deployments": Command(f"{_DEPLOYMENT}:ls_deployments", "List deployments."),
            "deployment": Command(f"{_DEPLOYMENT}:ls_deployment", "Show a deployment."),
            **_nouns("ls", "Show"),
            "network": Command(f"{_TREES}:ls_network", "Show a network and its tree."),
            "node": Command(f"{_TREES}:ls_node", "Show a declared node and its tree."),
            **{
                f"{kind}s": Command(f"{module}:ls_{kind}s", f"List {kind}s.")
                for kind, module in _NOUNS.items()
                if kind != "node"  # `ls nodes` shows who is there.
            },
            "versions": Command(f"{_KEPT}:ls_versions", "List the versions of files and flows."),
            "rights": Command(f"{_USER}:ls_rights", "List the rights there are."),
            "tasks": Command(f"{_TASK}:ls_tasks", "List tasks with their sockets."),
            "calls": Command(f"{_CALL}:ls_calls", "List calls, newest first."),
            "call": Command(f"{_SHOW_CALL}:ls_call", "Show a call or its flow."),
            "nodes": Command(f"{_NODES}:ls_nodes", "List the nodes of the mesh."),
            "workers": Command(f"{_LIVE}:ls_workers", "List worker processes."),
            **_ORIGINAL_LS,
        },
    ),
    "apply": Command(f"{_FILES}:apply", "Make the model what files say: YAML, TOML or JSON."),
    "diff": Command(f"{_FILES}:diff", "Show what `mesh apply` would do."),
    "export": Command(f"{_FILES}:export", "Print the model as a file for `mesh apply`."),
    "compose": Group(
        "Declare or delete what a compose file of ElasticCode has.",
        {
            "build": Command(f"{_FILES}:build", "Declare what is in the file; -d deploys it."),
            "kill": Command(f"{_FILES}:kill", "Delete what is in the file, and nothing else."),
        },
    ),
    "proc": Group(
        "Start, stop and pause processors.",
        {
            "start": Command(f"{_PROCESSOR}:start", "Start the workers of a processor."),
            "stop": Command(f"{_PROCESSOR}:stop", "Stop them; its calls wait."),
            "restart": Command(f"{_PROCESSOR}:restart", "Start fresh worker processes."),
            "pause": Command(f"{_PROCESSOR}:pause", "Keep the workers, give them no calls."),
            "resume": Command(f"{_PROCESSOR}:resume", "Give them calls again."),
            "remove": Command(f"{_PROCESSOR}:remove", "Stop a processor and remove it."),
        },
    ),
    "queue": Group(
        "Empty a queue.",
        {"purge": Command("meshcode.cli.purge:purge", "Cancel every call that waits in a queue.")},
    ),
    "schedule": Group(
        "Pause and resume schedules.",
        {
            "pause": Command(f"{_SCHEDULE}:pause", "Let a schedule fire no more for now."),
            "resume": Command(f"{_SCHEDULE}:resume", "Let it go on with its next time."),
        },
    ),
    "user": Group(
        "Give a user roles and rights, or take them away.",
        {
            "add": Command(f"{_USER}:user_add", "Give a user a role or a right."),
            "remove": Command(f"{_USER}:user_remove", "Take a role or a right from a user."),
        },
    ),
    "task": Group(
        "Run a task through its socket; see its code.",
        {
            "run": Command(f"{_TASK}:run", "Call a socket with --data or stdin."),
            "show": Command(f"{_TASK}:show", "Show a task: signature, module, sockets."),
            "code": Command(f"{_TASK}:code", "Print the source of a task."),
        },
    ),
    "run": Command("meshcode.cli.run:run", "Call a socket and print the result."),
    "call": Group(
        "Work with one call.",
        {
            "get": Command(f"{_CALL}:get", "Wait for a call and print its result."),
            "cancel": Command(f"{_CALL}:cancel", "Cancel a call, running or not."),
            "retry": Command(f"{_CALL}:retry", "Try a held or failed call again."),
        },
    ),
    "flow": Group(
        "Look at flows, end them, make them again.",
        {
            "ls": Command(f"{_FLOW}:ls", "List flows, newest first."),
            "show": Command(f"{_FLOW}:show", "Show the steps of a flow."),
            "cancel": Command(f"{_FLOW}:cancel", "Cancel every open call of a flow."),
            "retry": Command(f"{_FLOW}:retry", "Make again what is not done of a flow."),
            "wait": Command(f"{_FLOW}:wait", "Wait until a flow has ended."),
        },
    ),
    "db": Group(
        "Make, copy and change the database of the model.",
        {
            "init": Command(f"{_DB}:init", "Make the database and name its tables."),
            "drop": Command(f"{_DB}:drop", "Drop all that is declared, after asking twice."),
            "rebuild": Command(f"{_DB}:rebuild", "Drop, and make empty tables anew."),
            "migrate": Command(f"{_DB}:migrate", "Bring older tables to the newest version."),
            "upgrade": Command(f"{_DB}:migrate", "The same as migrate."),
            "json": Command(f"{_DB}:to_json", "Print everything in it as JSON."),
            "backup": Command(f"{_DB}:backup", "Copy it to a file while it is in use."),
            "restore": Command(f"{_DB}:restore", "Put back what a backup has, checked and whole."),
        },
    ),
    "logs": Command("meshcode.cli.logs:logs", "Print what tasks wrote; follow with -f."),
    "config": Group(
        "The settings, and where each comes from.",
        {
            "explain": Command(f"{_CONFIG}:explain", "Show each setting and where it came from."),
            "get": Command(f"{_CONFIG}:get", "Print the value of a setting."),
            "set": Command(f"{_CONFIG}:set_", "Write a setting into a file."),
            "unset": Command(f"{_CONFIG}:unset", "Take a setting out of a file."),
            "validate": Command(f"{_CONFIG}:validate", "Look for faults in all files."),
            "path": Command(f"{_CONFIG}:path", "List the files, those that go first on top."),
            "init": Command(f"{_CONFIG}:init", "Ask for the settings and write the user's file."),
        },
    ),
    "context": Group(
        "Settings under a name, one for each mesh you work with.",
        {
            "add": Command(f"{_CONTEXT}:add", "Make a context."),
            "use": Command(f"{_CONTEXT}:use", "Use a context from now on."),
            "ls": Command(f"{_CONTEXT}:ls", "List the contexts."),
            "show": Command(f"{_CONTEXT}:show", "Show a context."),
            "rm": Command(f"{_CONTEXT}:rm", "Remove a context."),
        },
    ),
    **_ORIGINAL,
    "man": Command("meshcode.cli.man:man", "Show a manual page, or write all of them."),
    "cheat": Command("meshcode.cli.cheat:cheat", "Print the commands of every day."),
    "completion": Command(
        "meshcode.cli.completion:completion", "Print the completion script of a shell."
    ),
}
