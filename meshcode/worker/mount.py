"""Mounting code: `python -m meshcode.worker.mount`, one JSON object in, JSON lines out.

In:  {"name", "git", "branch", "commit", "tag", "module", "module_path", "requirements",
      "cache": folder, "tasks": [names], "named": [names that sockets call], "allow_file": true,
      "offline": false, "builder": "auto" | "uv" | "venv",
      "held": a commit that a peer gave for what is wanted,
      "running": {commit: how many other nodes run it for a branch or tag},
      "import_ms": how long importing the module may take,
      "rules": objects of kind `repo`, each with its name (`policy.py`),
      "in_use": {"keys": [...], "worktrees": [...]}}; all but
      git, module and cache may be left out.  With `in_use`, what was not mounted for UNUSED_S and
      is not named there is removed from the cache afterwards.
Out: {"step", "text"} lines, for people; then one last line:
     {"ok": true, "url", "commit", "python", "worktree", "import_path", "module", "lend", "key",
      "environment", "builder", "built", "tasks": {task: {"signature", "source", "doc", "kind",
      "file", "line"}}, "warning": why the commit may be an old one, "absent": which of `named`
      the module does not have}
  or {"ok": false, "code": "mount_failed", "step": "fetch" | "environment" | "import" | "task",
      "reason", "text"}

It is a process of its own because it runs git, builders and other people's code, and because what
it imports stays out of the node.  It ends with status 0 when the last line is ok, else 1; told by
SIGTERM, it ends what it has started, removes what is half made, and says nothing more.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from meshcode import limits
from meshcode.errors import MeshError, MountFailed
from meshcode.worker import child, configuration, environment, launch, lend, policy
from meshcode.worker.repository import Repository, Tell, clean_trees

UNUSED_S = 30 * 86_400  # A month: a processor that comes back sooner is mounted in no time.
ANSWER_BYTES_MAX = 16 * 1024 * 1024
OUTPUT_LINES_MAX = 20  # Of what a module printed before it failed.


def _field(request: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = request.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise MountFailed(
            f"the field {name!r} of a mount is {value!r}, wanted a {kind.__name__}",
            step="fetch",
            reason="bad_request",
        )
    return value


def _text(request: dict[str, Any], name: str, *, needed: bool = False) -> str:
    value: str = _field(request, name, str, "")
    if needed and not value:
        raise MountFailed(f"a mount needs the field {name!r}", step="fetch", reason="bad_request")
    return value


def mount(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Mount code: fetch it, build its environment, look at its functions.

    Raises:
        MountFailed: with the fields `step` and `reason`.
    """
    cache = os.path.abspath(_text(request, "cache", needed=True))
    module = _text(request, "module", needed=True)
    if not all(part.isidentifier() for part in module.split(".")):
        raise MountFailed(
            f"{module!r} is no name of a module; write it as in an import, for instance"
            " `package.module`",
            step="import",
            reason="bad_request",
        )
    lending = _Lending(cache)
    try:
        return _mount(request, cache, module, lending, tell)
    finally:
        lending.join()  # It may not be left half done.


class _Lending(threading.Thread):
    """Makes the lend folder, for the first mount of a version, while git and a builder work."""

    def __init__(self, cache: str) -> None:
        super().__init__(name="lend")
        self._cache = cache
        self._folder = ""
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        """Make it; in the thread."""
        try:
            self._folder = lend.ensure(self._cache)
        except Exception as error:  # Whoever asks for the folder hears of it.
            self._error = error

    def folder(self) -> str:
        """The folder, once it is there.

        Raises:
            MountFailed, OSError: it could not be made.
        """
        self.join()
        if self._error is not None:
            raise self._error
        return self._folder


def _mount(
    request: dict[str, Any], cache: str, module: str, lending: _Lending, tell: Tell
) -> dict[str, Any]:
    started = time.monotonic()
    checkout = _repository(request, cache, tell).checkout(
        branch=_text(request, "branch"),
        commit=_text(request, "commit"),
        tag=_text(request, "tag"),
        offline=_field(request, "offline", bool, False),
        held=_text(request, "held"),
        running=_field(request, "running", dict, {}),
    )
    fetched = time.monotonic()
    tell("fetch", f"commit {checkout.commit} in {fetched - started:.2f} s")
    module_path = _text(request, "module_path")
    want = environment.wanted(checkout, _text(request, "requirements"), module_path)
    builder = _text(request, "builder") or "auto"
    tell("environment", f"looking for {want.key}")
    ready = environment.Environments(cache, builder=builder, tell=tell).ensure(want)
    lent = lending.folder()
    tell("environment", f"{ready.key} in {time.monotonic() - fetched:.2f} s")
    config = {
        "inspect": True,
        "lend": lent,
        "processor": _text(request, "name"),
        "module": module,
        "import_path": environment.import_path(checkout.folder, module_path),
        "worktree": os.path.realpath(checkout.folder),
        "tasks": _field(request, "tasks", list, []),
        "named": _field(request, "named", list, []),
        "overrides": _field(request, "overrides", dict, {}),
    }
    import_ms = _field(request, "import_ms", int, limits.IMPORT_MS_MAX)
    tell("import", f"importing {module}, for at most {import_ms / 1000:g} s")
    try:
        found = inspect_module(ready.python, config, _field(request, "env", dict, {}), import_ms)
    except MountFailed as error:
        raise _with_hint(error, checkout.folder, request) from None
    return {
        "ok": True,
        "url": checkout.url,
        "commit": checkout.commit,
        "warning": checkout.warning,
        "python": ready.python,
        "worktree": config["worktree"],
        "import_path": config["import_path"],
        "module": module,
        "lend": lent,
        "key": ready.key,
        "environment": ready.folder,
        "builder": ready.builder,
        "built": ready.built,
        "tasks": found["tasks"],
        "absent": found["absent"],
    }


def _with_hint(error: MountFailed, folder: str, request: dict[str, Any]) -> MountFailed:
    """A failed import, with what the repository has for it and the processor does not name."""
    file = "requirements.txt"
    if (
        "ModuleNotFoundError" not in error.text
        or _text(request, "requirements")
        or not os.path.isfile(os.path.join(folder, file))
    ):
        return error
    hint = (
        f"the repository has a {file}, which is not used as the processor does not name it:"
        f" `mesh update processor -n {_text(request, 'name')} -rq {file}`"
    )
    return MountFailed(f"{error.text.rstrip()}; {hint}", **error.fields)


def _repository(request: dict[str, Any], cache: str, tell: Tell) -> Repository:
    """The repository that a request names, with the rules that hold for it."""
    return Repository(
        _text(request, "git", needed=True),
        cache,
        allow_file=_field(request, "allow_file", bool, True),
        tell=tell,
        rules=policy.read(_field(request, "rules", list, [])),
    )


def clean_up(request: dict[str, Any], result: dict[str, Any], unused_s: float = UNUSED_S) -> int:
    """Remove what nobody mounted for `unused_s` seconds; returns how many things.

    What is in use is named in the request, and what was mounted just now is in `result`.  A cache
    that cannot be cleaned is no failure of the mount.
    """
    in_use = _field(request, "in_use", dict, {})
    if not in_use:
        return 0
    cache = os.path.abspath(request["cache"])
    keys = {*in_use.get("keys", ()), result["key"]}
    trees = {*in_use.get("worktrees", ()), result["worktree"]}
    try:
        gone = environment.Environments(cache).clean(unused_s, keys)
        gone += clean_trees(cache, unused_s, trees)
    except OSError:
        return 0
    return len(gone)


def inspect_module(
    python: str,
    config: dict[str, Any],
    env: dict[str, str] | None = None,
    import_ms: int = limits.IMPORT_MS_MAX,
) -> dict[str, Any]:
    """Import a module in its environment, in a process of its own, and describe its functions.

    Args:
        python: of the environment.
        config: of the process.
        env: of it, beside what every worker has.
        import_ms: how long it may take.

    Raises:
        MountFailed: step "import" or "task"; the text has the traceback and what was printed.
    """
    data, status, said = _import(python, config, env, import_ms / 1000)
    if data is None:
        raise MountFailed(
            f"importing the module {config['module']!r} did not end within {import_ms / 1000:g} s"
            f" and was stopped; the setting import_ms says how long it may take{said}",
            step="import",
            reason="timeout",
        )
    try:
        answer: dict[str, Any] = json.loads(data)
    except ValueError:
        raise MountFailed(
            f"the process that imported the module {config['module']!r} ended with status {status}"
            f" before it answered{said}",
            step="import",
            reason="died",
        ) from None
    if not answer["ok"]:
        raise MountFailed(answer["text"], step=answer["step"], reason=f"bad_{answer['step']}")
    return answer


def _import(
    python: str, config: dict[str, Any], env: dict[str, str] | None, seconds: float
) -> tuple[bytes | None, int, str]:
    """What the process said, None when not in time; its status; what was printed, for an error."""
    folder = tempfile.mkdtemp(prefix="mesh-inspect-")
    answer_end, write_end = os.pipe()
    with tempfile.TemporaryFile() as printed:
        try:
            config = {**config, "answer_file": write_end}
            path = os.path.join(folder, "config")
            configuration.write(path, config)
            with child.group(
                launch.command(python, config["lend"], path),
                env=launch.environment(env),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                pass_fds=(write_end,),
                cwd=folder,
            ) as process:
                os.close(write_end)
                write_end = -1
                data = _read_answer(answer_end, time.monotonic() + seconds)
                status = child.kill(process)  # Whatever the module started goes too.
        finally:
            os.close(answer_end)
            if write_end >= 0:
                os.close(write_end)
            shutil.rmtree(folder, ignore_errors=True)
        printed.seek(0)
        output = printed.read()[-65536:].decode("utf-8", "replace").strip().splitlines()
    tail = "\n".join(output[-OUTPUT_LINES_MAX:])
    said = f"; it printed:\n{tail}" if tail else ""
    return data, status, said


def _read_answer(file: int, deadline: float) -> bytes | None:
    """Read to the end; None when that does not come in time."""
    parts: list[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or size > ANSWER_BYTES_MAX:
            return None
        if select.select([file], [], [], left)[0]:
            part = os.read(file, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)


def main() -> int:
    """Serve one request from standard input."""

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)

    child.end_when_told()
    try:
        request = json.loads(sys.stdin.buffer.read())
        if not isinstance(request, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        text = f"the request on standard input is not a JSON object: {error}"
        step, reason = "fetch", "bad_request"
    else:
        try:
            result = mount(request, lambda step, text: say({"step": step, "text": text}))
            say(result)
            clean_up(request, result)
            return 0
        except MeshError as error:
            text = error.text
            step, reason = error.fields.get("step", "environment"), error.fields.get("reason", "")
        except OSError as error:
            text = f"this host could not do it: {error}; what was mounted before is as it was"
            step, reason = "environment", "os_error"
    say({"ok": False, "code": "mount_failed", "step": step, "reason": reason, "text": text})
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except child.Ended:
        sys.exit(1)
