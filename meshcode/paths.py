"""Where a node keeps its things, and where its links are: one answer for node, client and command.

    home                  default ~/.local/share/meshcode
      run/                0700: the ipc links, node.pid, ipc.path, control pages of workers
      data/               the log
      model/model.db      the declared objects, unless the setting `model` names another
      code/               mirrors, work trees and environments; may be deleted when no node runs
      log/node.log
      audit/                who did what; 0600
      login, login.key      the login of this user; what signs logins without a mesh; 0600
      mesh/                 0700: keys, roster and invitations; only when the node is in a mesh

Every function takes `base`, the home folder; without it the configuration decides, at each call.
Only `make_folders`, `make_ipc_dir` and `drop_ipc_dir` write anything, and only `listens` knocks at
a link.  Whoever can put another folder in the place of one of these is told what clients say,
passwords too: so nodes and clients take none that is not their user's own.
"""

from __future__ import annotations

import os

from meshcode import config
from meshcode.errors import NodeError, NotAllowed

# A Unix socket's path has 107 bytes on Linux, 103 elsewhere; libzmq cuts longer ones in silence.
IPC_PATH_BYTES_MAX = 99
_LONGEST_LINK = "/workers.ipc"
_CLIENTS_FILE_MAX = 1024 * 1024  # Characters: 500 nodes need about 80,000.
_PROBE_S = 5.0  # A full backlog for so long is a node that is there and not well.
_FOLDERS = ("run", "data", "model", "code", "log")


def home(base: str | None = None) -> str:
    """The home folder as an absolute path: `base`, else what `config.py` finds."""
    chosen = base or str(config.value("home"))
    return os.path.abspath(os.path.expanduser(chosen))


def run_dir(base: str | None = None) -> str:
    """The folder of what exists while a node runs: pid file, ipc links, control pages."""
    return os.path.join(home(base), "run")


def data_dir(base: str | None = None) -> str:
    """The folder of the log."""
    return os.path.join(home(base), "data")


def code_dir(base: str | None = None) -> str:
    """The cache of mirrors, work trees and environments."""
    return os.path.join(home(base), "code")


def mesh_dir(base: str | None = None) -> str:
    """The folder of keys, roster and invitations; without `self.json` in it there is no mesh."""
    return os.path.join(home(base), "mesh")


def log_file(base: str | None = None) -> str:
    """The log text of a node that was started in the background."""
    return os.path.join(home(base), "log", "node.log")


def pid_file(base: str | None = None) -> str:
    """The file with the process id of the node of this home."""
    return os.path.join(run_dir(base), "node.pid")


def model_uri(base: str | None = None) -> str:
    """The database of the model: the setting `model`, else a SQLite file in the home."""
    path = os.path.join(home(base), "model", "model.db")
    told = str(config.value("model")) if base is None else os.environ.get("MESH_MODEL")
    return told or f"sqlite:///{path}"


def ipc_path_file(base: str | None = None) -> str:
    """The file that names the folder of the ipc links when that is not `run/` itself."""
    return os.path.join(run_dir(base), "ipc.path")


def ipc_dir(base: str | None = None) -> str:
    """The folder of the ipc links: the one `run/ipc.path` names, else `run/`."""
    try:
        with open(ipc_path_file(base), encoding="utf-8") as file:
            named = file.read().strip()
    except OSError:
        named = ""
    return named or run_dir(base)


def clients_address(base: str | None = None) -> str:
    """Where clients connect: the setting `node` when no `base` is given, else an ipc link.

    Raises:
        NotAllowed: somebody else could answer at that link.
    """
    told = str(config.value("node")) if base is None else ""
    if told:
        return told
    run, links = run_dir(base), ipc_dir(base)
    owners = _owners(home(base))
    why = _distrust(run, owners) or ("" if links == run else _distrust(links, owners))
    if why:
        raise NotAllowed(
            f"{why}: somebody else could answer there in the place of your node; nothing was sent;"
            " look who made it, put that right, and start the node again: `mesh up`"
        )
    return f"ipc://{links}/clients.ipc"


def clients_addresses(base: str | None = None) -> list[str]:
    """Where clients may connect, best first: any node of a mesh can stand in for another.

    The setting `node` alone when there is one and no `base` is given; it may hold several, with
    commas between them.  Else the ipc link of this home's node, then `ADDRESS?key=KEY` of its
    peers, as that node keeps them in `mesh/clients.json`; a file that is missing or cannot be read
    names none.
    """
    first = clients_address(base)
    if base is None and config.value("node"):
        return [first]
    return [first, *(one for found in peers_addresses(base).values() for one in found)]


def peers_addresses(base: str | None = None) -> dict[str, list[str]]:
    """Where the peers of a home's node take clients, by their names, as that node keeps them."""
    import json

    try:
        with open(os.path.join(mesh_dir(base), "clients.json"), encoding="utf-8") as file:
            found = json.loads(file.read(_CLIENTS_FILE_MAX))
    except (OSError, ValueError):  # They help where they are; nothing depends on them.
        return {}
    by_name: dict[str, list[str]] = {}
    for peer in found if isinstance(found, list) else []:
        if not isinstance(peer, dict):
            continue
        address, key = peer.get("address"), peer.get("key")
        if isinstance(address, str) and isinstance(key, str | None):
            whole = f"{address}?key={key}" if key else address
            by_name.setdefault(str(peer.get("name", "")), []).append(whole)
    return by_name


def workers_address(base: str | None = None) -> str:
    """Where workers connect to their node."""
    return f"ipc://{ipc_dir(base)}/workers.ipc"


def listens(address: str) -> bool:
    """Whether any process has this ipc address open; True for what cannot be asked this way."""
    if not address.startswith("ipc://"):
        return True
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(address.removeprefix("ipc://"))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except OSError as error:
            # Without a number it is Python's word that no such path fits a Unix socket, so nothing
            # can have bound it.  Any other reason the client finds out, and says.
            return error.errno is not None
    return True


def make_folders(base: str | None = None) -> str:
    """Make the home and its folders, open to their owner only; returns the home.

    Raises:
        OSError: a folder cannot be made; its `filename` says which.
        NodeError: one that is there is another user's, or open to others.
    """
    root = home(base)
    os.makedirs(root, mode=0o700, exist_ok=True)
    why = folders_problem(base)
    if why:
        raise NodeError(
            f"{why}: others could take the place of what is in it; nothing was changed; put that"
            " right, or give the node another folder with --home or MESH_HOME"
        )
    for name in _FOLDERS:
        os.makedirs(os.path.join(root, name), mode=0o700, exist_ok=True)
    os.chmod(run_dir(base), 0o700)  # Also when it was there before, with a wider mode.
    return root


def make_ipc_dir(base: str | None = None) -> str:
    """The folder in which the node binds its ipc links; for the node only, after `make_folders`.

    It is `run/` when the paths of its links fit a Unix socket.  Otherwise a private folder under
    /tmp is made and `run/ipc.path` names it; a restarted node takes the same one, so its clients
    find it again by themselves.
    """
    run = run_dir(base)
    file = ipc_path_file(base)
    if len(os.fsencode(run + _LONGEST_LINK)) <= IPC_PATH_BYTES_MAX:
        if os.path.exists(file):
            os.unlink(file)
        return run
    named = ipc_dir(base)
    if named != run and (_is_private(named) or _is_made_again(named)):
        return named
    from meshcode import aside  # Late: this is for nodes, and all others load this module, too.

    named = f"{_ipc_prefix()}{os.urandom(6).hex()}"
    os.mkdir(named, 0o700)
    aside.write(file, f"{named}\n".encode())
    return named


def drop_ipc_dir(base: str | None = None) -> None:
    """Remove the folder that `make_ipc_dir` made under /tmp; the next start makes it again."""
    named = ipc_dir(base)
    if not named.startswith(_ipc_prefix()) or not _is_private(named):
        return
    try:
        for name in os.listdir(named):
            os.unlink(os.path.join(named, name))
        os.rmdir(named)
    except OSError:  # It is empty and private, or what is in it was somebody's hand.
        return


def _ipc_prefix() -> str:
    return f"/tmp/meshcode-{os.getuid()}-"


def _is_made_again(named: str) -> bool:
    """Whether the folder of an earlier start is there again: its clients know no other."""
    if not named.startswith(_ipc_prefix()):
        return False
    try:
        os.mkdir(named, 0o700)
    except OSError:
        return False
    return True


def folders_problem(base: str | None = None) -> str:
    """Why the home or a folder in it cannot be used; empty when all that are there can."""
    root = home(base)
    owners = _owners(root)
    for name in ("", *_FOLDERS):
        why = _distrust(os.path.join(root, name) if name else root, owners)
        if why:
            return why
    return ""


def _owners(root: str) -> set[int]:
    """Whose folders are as good as our own: root can do anything, and may use anybody's home."""
    me = os.geteuid()
    if me:
        return {me, 0}
    try:
        return {0, os.stat(root).st_uid}
    except OSError:
        return {0}


def _distrust(folder: str, owners: set[int]) -> str:
    """Why others could put something else in the place of what is in a folder, or of itself."""
    try:
        found = os.stat(folder)
        who = {os.lstat(folder).st_uid, found.st_uid} - owners
    except OSError:  # There is none, or whoever uses it is told why it cannot.
        return ""
    mode = found.st_mode & 0o7777
    if who:
        return f"{folder} belongs to user {who.pop()}, and you are user {os.geteuid()}"
    # Where every user has a group of its own, folders are open to that.
    group = mode & 0o020 and found.st_gid not in (os.getegid(), found.st_uid)
    if (mode & 0o002 and not mode & 0o1000) or group:
        return f"{folder} can be written to by others (its mode is {mode:o}; `chmod go-w {folder}`)"
    return ""


def _is_private(folder: str) -> bool:
    """Is it a real folder that only this user can enter?  /tmp is everybody's."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    is_folder = found.st_mode & 0o170000 == 0o040000
    return is_folder and found.st_uid == os.getuid() and found.st_mode & 0o077 == 0
