"""The settings of command, client and node: one resolver, and where each value came from.

    flag > MESH_* of the environment > mesh.toml of the project > context > user > system > default

A context that --context names goes before the environment.

    project    mesh.toml in this folder or the nearest one above it
    context    $XDG_CONFIG_HOME/meshcode/contexts/NAME.toml
    user       $XDG_CONFIG_HOME/meshcode/config.toml        (default ~/.config)
    system     /etc/meshcode/config.toml

A variable that is there and empty stands for the default.  `node` and `model` belong to a home: a
file's are left out when a level above that file chooses another home.  Only files are read here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from meshcode.errors import CallerError
from meshcode.nearest import nearest

LEVELS = ("flag", "environment", "project", "context", "user", "system", "default")
PROJECT_FILE = "mesh.toml"
SYSTEM_FILE = "/etc/meshcode/config.toml"
FLAGS = ("home", "node", "color")  # Settings with an option of their own; --set has the others.
CONTEXT = "context"  # No setting: it names the file of a level.
CONTEXT_VARIABLE = "MESH_CONTEXT"
_OF_A_HOME = ("node", "model")
_OF_A_NODE = ("model", "mdns", "memory", "retention_age", "retention_calls", "retention_bytes")
_FILE_BYTES_MAX = 64 * 1024
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_DURATION = re.compile(r"0|(\d+(\.\d+)?(ms|s|m|h|d))+")
unread: dict[str, str] = {}  # Files that this process may not read, with what to say of it.
_SECRET = re.compile(r"(://[^:@/]*):.*@|((?:password|passfile)=)[^&]*", re.I)


class Key(NamedTuple):
    """A setting there is."""

    name: str
    kind: str  # path, database, text, flag, duration, count, size, or words separated by |
    default: str | bool
    text: str

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"MESH_{self.name.upper()}"


KEYS = {
    key.name: key
    for key in (
        Key("home", "path", "~/.local/share/meshcode", "Folder of the node."),
        Key("node", "text", "", "Address of the node to talk to, instead of that of the home."),
        Key("model", "database", "", "Database of the model, path or URI; else in the home."),
        Key("client_key", "path", "", "File with the keys that clients connect with."),
        Key("mdns", "flag", True, "Look for other nodes in the local network."),
        Key("memory", "size", "0", "Most memory of a node; 0 for half of the machine's."),
        Key("output", "table|wide|json|jsonl|yaml|csv|name", "table", "Format of listings."),
        Key("color", "auto|always|never", "auto", "Colour the output."),
        Key("ascii", "flag", False, "Draw trees in ASCII, whatever the locale can show."),
        Key("timeout", "duration", "30s", "Longest --wait."),
        Key("retention_age", "duration", "7d", "How long ended calls are kept; 0 for no end."),
        Key("retention_calls", "count", "10000000", "Most ended calls kept; 0 for any number."),
        Key("retention_bytes", "size", "0", "Most bytes of ended calls kept; 0 for any number."),
    )
}


class Layer(NamedTuple):
    """What one level says."""

    level: str
    where: str  # A file; for the others what a person types.
    values: dict[str, Any]


class Setting(NamedTuple):
    """A value in force."""

    key: Key
    value: Any  # str or bool; paths are absolute; "" when there is none.
    level: str
    where: str


def user_folder(environ: Mapping[str, str] | None = None) -> str:
    """The folder of the user's configuration."""
    found = os.environ if environ is None else environ
    base = found.get("XDG_CONFIG_HOME") or ""
    if not os.path.isabs(base):  # As the XDG specification wants it.
        base = os.path.join(found.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(base, "meshcode")


def user_file(environ: Mapping[str, str] | None = None) -> str:
    """The user's own file; it need not be there."""
    return os.path.join(user_folder(environ), "config.toml")


def context_file(name: str, environ: Mapping[str, str] | None = None) -> str:
    """The file of a context; it need not be there.

    Raises:
        CallerError: that cannot be the name of a context.
    """
    if not _NAME.fullmatch(name):
        raise CallerError(
            f"a context cannot be named {name!r}; write up to 64 of A-Z a-z 0-9 _ . -"
        )
    return os.path.join(user_folder(environ), "contexts", f"{name}.toml")


def shown(setting: Setting) -> str:
    """The value for people: without the password that an address may hold."""
    if isinstance(setting.value, bool):
        return "true" if setting.value else "false"
    return mask(str(setting.value))


def has_password(text: str) -> bool:
    """Whether an address has a password in it, and not only the name of a file with one."""
    return any(m[1] or m[2].lower() == "password=" for m in _SECRET.finditer(text))


def mask(text: str) -> str:
    """The text with passwords of URIs as stars."""
    return _SECRET.sub(lambda m: f"{m[1]}:***@" if m[1] else f"{m[2]}***", text)


def check(name: str, raw: Any, where: str, folder: str = "") -> str | bool:
    """A value as it is used; paths and `~` are made absolute from `folder`.

    Raises:
        CallerError: no such setting, or not a value of it; the text names `where`.
    """
    key = KEYS.get(name)
    if key is None:
        near = nearest(name, KEYS)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(KEYS)}"
        raise CallerError(f"{where}: {name!r} is no setting; {hint}")
    if key.kind == "flag":
        word = str(raw).lower()
        if word not in _TRUE + _FALSE:
            raise CallerError(f"{where}: {name} is {raw!r}; it must be true or false")
        return word in _TRUE
    if key.kind in ("count", "size"):
        return _checked_number(key, raw, where)
    if not isinstance(raw, str):
        raise CallerError(f"{where}: {name} is {raw!r}; it must be text in quotes")
    if "|" in key.kind and raw not in key.kind.split("|"):
        words = key.kind.replace("|", ", ")
        raise CallerError(f"{where}: {name} is {raw!r}; it must be one of {words}")
    if key.kind == "duration" and not _DURATION.fullmatch(raw):
        raise CallerError(f"{where}: {name} is {raw!r}; write a number and a unit: 500ms, 30s, 2m")
    if key.kind == "path" and raw:
        return os.path.abspath(os.path.join(folder, os.path.expanduser(raw)))
    if key.kind == "database" and raw and folder and "://" not in raw:
        return os.path.abspath(os.path.join(folder, os.path.expanduser(raw)))
    return raw


def _checked_number(key: Key, raw: Any, where: str) -> str:
    """A count or a size as it was written; a file may have it without quotes."""
    from meshcode.units import parse_count, parse_size

    text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    try:
        (parse_count if key.kind == "count" else parse_size)(text)
    except (ValueError, AttributeError) as error:
        why = error if isinstance(error, ValueError) else f"{raw!r} is no number"
        raise CallerError(f"{where}: {key.name} is {raw!r}; {why}") from None
    return str(text)


class Settings:
    """All levels together."""

    def __init__(self, layers: list[Layer], context: tuple[str, str], left_out: list[str]) -> None:
        self.layers = layers  # Highest first.
        self.context, self.context_from = context  # Its name, "" for none; who chose it.
        self.left_out = left_out  # Files that are not used, with the reason.

    def get(self, name: str) -> Setting:
        """The value in force."""
        key = KEYS[name]
        home_chosen = False
        for layer in self.layers:
            if name in layer.values:
                value = layer.values[name]
                if value == "" and key.kind != "flag":
                    value = _default(key)
                flag = f"--{name}" if name in FLAGS else f"--set {name}"
                typed = {"flag": flag, "environment": f"${key.variable}"}
                return Setting(key, value, layer.level, typed.get(layer.level, layer.where))
            home_chosen = home_chosen or bool(layer.values.get("home"))
            if home_chosen and (name == "node" or (name == "model" and layer.level != "flag")):
                break  # What is further down belongs to another home.
        return Setting(key, _default(key), "default", "default")

    def all(self) -> list[Setting]:
        """Every setting."""
        return [self.get(name) for name in KEYS]


def _default(key: Key) -> str | bool:
    if key.kind == "path" and key.default:
        return os.path.abspath(os.path.expanduser(str(key.default)))
    return key.default


def settings(
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> Settings:
    """Resolve.

    Args:
        flags: what the command line says, by setting and `context`; None is not given.
        environ: instead of the process's environment.
        folder: where the search for the project begins, instead of the working folder.

    Raises:
        CallerError: a value or a file is wrong, or the context chosen is not there.
    """
    env = os.environ if environ is None else environ
    given = {k: v for k, v in (flags or {}).items() if v is not None}
    chosen = [(given.pop(CONTEXT, None), "--context"), (env.get(CONTEXT_VARIABLE), "environment")]
    layers = [
        Layer("flag", "flag", {k: check(k, v, f"--{k}") for k, v in given.items()}),
        Layer("environment", "environment", _of_environment(env)),
    ]
    left_out: list[str] = []
    system = SYSTEM_FILE if _may_read_system() else ""
    project = _project_file(folder)
    files = [("project", project), ("user", user_file(env)), ("system", system)]
    for level, path in files:
        values = None
        if path:
            values = _read_project(path, left_out) if level == "project" else read(path)
        if values is not None:
            chosen.append((values.pop(CONTEXT, None), path))
            layers.append(Layer(level, path, values))
    context, source = next(((str(n), w) for n, w in chosen if n), ("", ""))
    if context:
        path = context_file(context, env)
        values = read(path)
        if values is None:
            raise CallerError(
                f"there is no context {context!r}, chosen by {source}; `mesh context ls` has all,"
                f" `mesh context add {context}` makes it"
            )
        layers.append(Layer("context", path, values))
    # Who names a context on the command line means it, whatever the environment says.
    named = source == "--context"
    layers.sort(key=lambda layer: 0.5 if named and layer.level == "context" else _rank(layer))
    return Settings(layers, (context, source), left_out)


def _rank(layer: Layer) -> float:
    return LEVELS.index(layer.level)


def _of_environment(env: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in KEYS.values():
        raw = env.get(key.variable)
        if raw is not None:
            found[key.name] = check(key.name, raw, f"${key.variable}") if raw else key.default
            if not raw and key.kind != "flag":
                found[key.name] = ""
    return found


def _project_file(folder: str | None) -> str:
    try:
        at = os.path.abspath(folder) if folder is not None else os.getcwd()
    except OSError:  # The working folder was deleted.
        return ""
    while True:
        path = os.path.join(at, PROJECT_FILE)
        if os.path.exists(path):
            return path
        above = os.path.dirname(at)
        if above == at:
            return ""
        at = above


def _read_project(path: str, left_out: list[str]) -> dict[str, Any] | None:
    """The values of the project's file, unless it is somebody else's: whoever can write into a
    folder above must not choose where calls go."""
    try:
        return read(path, owners=(os.getuid(), 0))
    except _OfAnother as error:
        left_out.append(f"{path} belongs to user {error} and not to you or root; it is not used")
        return None


def _may_read_system() -> bool:
    """Whether the system's file can be read, or is not there: what an administrator forgot to open
    to everybody must not end everybody's commands."""
    try:
        os.close(os.open(SYSTEM_FILE, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError as error:
        unread[SYSTEM_FILE] = f"{SYSTEM_FILE} cannot be read: {error.strerror}; it is not used"
        return False
    except OSError:  # Not there; or what `read` says.
        return True
    return True


_read: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}  # By path: mtime and size, values.


class _OfAnother(Exception):
    """The owner of a file, who is none of those that it may be of."""


def read(path: str, owners: tuple[int, ...] | None = None) -> dict[str, Any] | None:
    """The checked values of one file, `context` among them; None when there is no file.

    Args:
        path: it is opened once, so that what is read is what was looked at, whoever renames it.
        owners: those that it may be of; None is anybody.

    Raises:
        CallerError: it cannot be read, is no TOML, or holds what is no setting.
        _OfAnother: it is of somebody else, and nothing of it was read.
    """
    try:
        # Not waiting: a fifo in its place must not hold up everything.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CallerError(f"{path} cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if owners is not None and found.st_uid not in owners:
            raise _OfAnother(found.st_uid)
        stamp = (found.st_mtime_ns, found.st_size)
        known = _read.get(path)
        if known is None or known[0] != stamp:
            known = _read[path] = (stamp, _parse(path, descriptor, found.st_size))
    finally:
        os.close(descriptor)
    return dict(known[1])


def _parse(path: str, descriptor: int, size: int) -> dict[str, Any]:
    import tomllib

    if size > _FILE_BYTES_MAX:
        raise CallerError(f"{path} has {size} bytes, the most is {_FILE_BYTES_MAX}")
    try:
        with open(descriptor, "rb", closefd=False) as file:
            values = tomllib.load(file)
    except OSError as error:
        raise CallerError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CallerError(f"{path} is no TOML: {error}; nothing of it is used; mend it") from None
    context = values.pop(CONTEXT, None)
    folder = os.path.dirname(path)
    checked = {name: check(name, raw, path, folder) for name, raw in values.items()}
    if context is not None:
        context_file(str(context))
        checked[CONTEXT] = str(context)
    return checked


def value(name: str) -> Any:
    """One setting of this process; "" when there is none.

    Raises:
        CallerError: a file of the configuration is wrong.
    """
    raw = os.environ.get(KEYS[name].variable)
    if raw and KEYS[name].kind != "flag":
        return check(name, raw, f"${KEYS[name].variable}")
    if name in _OF_A_HOME and (raw == "" or os.environ.get("MESH_HOME")):
        return ""
    return settings().get(name).value


def exports(found: Settings) -> dict[str, str]:
    """What a node must find in its environment, because its process does not see these files."""
    chosen = [found.get(name) for name in _OF_A_NODE]
    return {
        s.key.variable: text_of(s.value)
        for s in chosen
        if s.level in ("project", "context", "user", "system")
    }


def text_of(value: str | bool) -> str:
    """The value as a variable of the environment holds it."""
    return ("1" if value else "0") if isinstance(value, bool) else value
