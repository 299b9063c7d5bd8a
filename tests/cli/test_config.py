"""The settings: which level holds, what is refused, and that no password is ever shown."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import sys
import tempfile

import pytest

from meshcode import config, paths
from meshcode.cli import main
from meshcode.cli.process import node_environment
from meshcode.errors import CallerError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty configuration, and a project folder to stand in."""
    for name in list(os.environ):
        if name.startswith("MESH_") or name in ("FORCE_COLOR", "NO_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setattr(config, "SYSTEM_FILE", str(tmp_path / "etc" / "config.toml"))
    (tmp_path / "project" / "deep").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path / "project" / "deep")
    before = dict(os.environ)
    yield tmp_path
    os.environ.clear()  # --home and --context write there, for other processes.
    os.environ.update(before)


def run(*arguments, capsys, status=0):
    got = main(arguments)
    captured = capsys.readouterr()
    assert got == status, captured
    return captured.out, captured.err


def explained(name, capsys, *before):
    out, _ = run(*before, "config", "explain", name, "-o", "json", capsys=capsys)
    (item,) = json.loads(out)["items"]
    return item["value"], item["level"]


def test_each_level_goes_before_the_next(place, monkeypatch, capsys):
    """From the bottom up: each level that is added is the one in force."""
    steps = [("default", lambda: None, "30s")]
    files = {
        "system": place / "etc" / "config.toml",
        "user": place / "xdg" / "meshcode" / "config.toml",
        "context": place / "xdg" / "meshcode" / "contexts" / "lab.toml",
        "project": place / "project" / "mesh.toml",
    }

    def put(level, text):
        files[level].parent.mkdir(parents=True, exist_ok=True)
        files[level].write_text(text)

    steps += [
        ("system", lambda: put("system", 'timeout = "1s"\n'), "1s"),
        ("user", lambda: put("user", 'timeout = "2s"\ncontext = "lab"\n'), "2s"),
        ("context", lambda: put("context", 'timeout = "3s"\n'), "3s"),
        ("project", lambda: put("project", 'timeout = "4s"\n'), "4s"),
        ("environment", lambda: monkeypatch.setenv("MESH_TIMEOUT", "5s"), "5s"),
    ]
    put("context", "")  # The user's file names it before it says anything.
    for level, step, value in steps:
        step()
        assert explained("timeout", capsys) == (value, level)
    # Who names a context means it, whatever the environment says.
    assert explained("timeout", capsys, "--context", "lab") == ("3s", "context")


def test_a_flag_goes_before_everything(place, monkeypatch, capsys):
    monkeypatch.setenv("MESH_HOME", "/from/environment")

    assert explained("home", capsys, "--home", "/from/flag") == ("/from/flag", "flag")
    assert explained("color", capsys, "--color", "never") == ("never", "flag")


def test_where_it_came_from_is_named(place, monkeypatch, capsys):
    monkeypatch.setenv("MESH_OUTPUT", "json")
    file = place / "project" / "mesh.toml"
    file.write_text('home = "node"\n')

    rows = {r["name"]: r for r in json.loads(run("config", "explain", capsys=capsys)[0])["items"]}

    assert rows["output"]["where"] == "$MESH_OUTPUT"
    assert rows["home"]["where"] == str(file)
    assert rows["home"]["value"] == str(place / "project" / "node")  # From the file's folder.
    assert set(rows) == set(config.KEYS)


def test_command_client_and_node_read_the_same(place):
    file = place / "project" / "mesh.toml"
    file.write_text('home = "/srv/lab"\nmodel = "postgresql://joe@db/lab"\nmdns = false\n')

    assert paths.home() == "/srv/lab"
    assert paths.clients_address() == "ipc:///srv/lab/run/clients.ipc"
    assert paths.model_uri() == "postgresql://joe@db/lab"
    env = node_environment("/srv/lab")
    assert (env["MESH_MODEL"], env["MESH_MDNS"]) == ("postgresql://joe@db/lab", "0")
    assert env["MESH_HOME"] == "/srv/lab"


def test_node_and_model_of_a_file_belong_to_its_home(place, monkeypatch):
    """Another home must not write into a database, or send calls to a node, that is not its own."""
    file = place / "project" / "mesh.toml"
    file.write_text('node = "ipc:///lab/clients.ipc"\nmodel = "/lab/model.db"\n')
    assert paths.clients_address() == "ipc:///lab/clients.ipc"
    monkeypatch.setenv("MESH_HOME", "/other")

    assert paths.clients_address() == "ipc:///other/run/clients.ipc"
    assert paths.model_uri() == "sqlite:////other/model/model.db"
    assert "MESH_MODEL" not in node_environment("/other")
    monkeypatch.setenv("MESH_MODEL", "/said/aloud.db")
    assert paths.model_uri() == "/said/aloud.db"


def test_an_empty_variable_is_the_default(place, monkeypatch, capsys):
    (place / "project" / "mesh.toml").write_text('output = "json"\nmdns = false\n')
    monkeypatch.setenv("MESH_OUTPUT", "")
    monkeypatch.setenv("MESH_MDNS", "")

    found = config.settings()

    assert (found.get("output").value, found.get("mdns").value) == ("table", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('hom = "x"\n', "'hom' is no setting; did you mean 'home'?"),
        ("timeout = 5\n", "timeout is 5; it must be text in quotes"),
        ('timeout = "5"\n', "timeout is '5'; write a number and a unit: 500ms, 30s, 2m"),
        ('mdns = "perhaps"\n', "mdns is 'perhaps'; it must be true or false"),
        ('output = "xml"\n', "output is 'xml'; it must be one of table, wide, json, jsonl, yaml,"),
        ("home = \n", "is no TOML: "),
        ('context = "../x"\n', "a context cannot be named '../x'"),
    ],
)
def test_a_wrong_file_is_refused_and_named(place, capsys, text, said):
    file = place / "project" / "mesh.toml"
    file.write_text(text)

    for line in (("status",), ("config", "validate")):
        _, err = run(*line, capsys=capsys, status=2)
        assert said in err
        assert str(file) in err or "context" in text


def test_validate_reads_contexts_and_the_environment(place, monkeypatch, capsys):
    run("context", "add", "lab", "output=json", capsys=capsys)
    assert "2 files" not in run("config", "validate", capsys=capsys)[0]
    (place / "xdg" / "meshcode" / "contexts" / "lab.toml").write_text("x = 1\n")
    monkeypatch.setenv("MESH_HOMME", "/x")

    _, err = run("config", "validate", capsys=capsys, status=2)

    assert "lab.toml: 'x' is no setting" in err
    assert "$MESH_HOMME of the environment is no setting" in err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("node", "nonsense", "it begins neither with ipc:// nor with tcp://"),
        ("node", "ipc:///a,tcp://10.0.0.7:7421", "it has no ?key= of the node"),
        ("model", "foo://x", "sqlite or postgresql, not in 'foo'"),
        ("model", "sqlite://", "not a database in memory"),
    ],
)
def test_an_address_that_nothing_can_connect_to_is_not_written_and_found(
    place, monkeypatch, capsys, name, value, said
):
    """Each command after it failed, and the configuration was called well."""
    file = place / "xdg" / "meshcode" / "config.toml"
    for line in (("config", "set", name, value), ("config", "init", f"{name}={value}")):
        _, err = run(*line, capsys=capsys, status=2)
        assert said in err and f"{file}: {name} is " in err
        assert err.endswith("; nothing was changed\n")
    assert not file.exists()
    run("config", "set", name, "", capsys=capsys)
    file.write_text(f'{name} = "{value}"\n')
    _, err = run("config", "validate", capsys=capsys, status=2)
    assert said in err and err.count(f"{file}: {name} is ") == 1
    file.unlink()
    monkeypatch.setenv(f"MESH_{name.upper()}", value)
    _, err = run("config", "validate", capsys=capsys, status=2)
    assert said in err and "environment: " in err


def test_a_project_of_somebody_else_is_not_used(place, monkeypatch, capsys):
    file = place / "project" / "mesh.toml"
    file.write_text('node = "ipc:///theirs"\n')
    owner = os.getuid() or 1234
    if not os.getuid():
        os.chown(file, owner, -1)
    monkeypatch.setattr(os, "getuid", lambda: 4711)

    assert paths.clients_address() != "ipc:///theirs"
    assert f"belongs to user {owner}" in run("config", "explain", "node", capsys=capsys)[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize("look", ["stat", "fstat"])
def test_the_project_that_was_looked_at_is_the_one_that_is_read(place, monkeypatch, look):
    """Its owner was looked at by name, and another file had the name when it was opened."""
    file, theirs = place / "project" / "mesh.toml", place / "theirs.toml"
    file.write_text('node = "ipc:///mine"\n')
    theirs.write_text('node = "ipc:///theirs"\n')
    os.chown(theirs, 1234, -1)
    real, size = getattr(os, look), file.stat().st_size

    def then_it_is_another(at, *args, **kwargs):
        found = real(at, *args, **kwargs)
        if found.st_size == size and os.path.lexists(theirs):
            os.replace(theirs, file)
        return found

    config._read.clear()
    monkeypatch.setattr(os, look, then_it_is_another)

    assert config.settings(folder=str(file.parent)).get("node").value != "ipc:///theirs"
    assert not os.path.lexists(theirs)


def test_setting_keeps_comments_and_order(place, capsys):
    file = place / "xdg" / "meshcode" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('# mine\noutput = "json" # often\n\nhome = "/srv"')

    run("config", "set", "output", "yaml", capsys=capsys)
    run("config", "set", "timeout", "5s", capsys=capsys)

    assert file.read_text() == '# mine\noutput = "yaml"\n\nhome = "/srv"\ntimeout = "5s"\n'
    run("config", "unset", "home", capsys=capsys)
    assert "home" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_a_file_that_is_a_link_into_another_folder_stays_one(place, capsys):
    file, kept = place / "xdg" / "meshcode" / "config.toml", place / "dotfiles"
    file.parent.mkdir(parents=True)
    kept.write_text('output = "json"\n')
    file.symlink_to(kept)

    run("config", "set", "output", "yaml", capsys=capsys)

    assert file.is_symlink()
    assert kept.read_text() == 'output = "yaml"\n'


def test_setting_what_is_not_one_line_changes_nothing(place, capsys):
    file = place / "xdg" / "meshcode" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('home = """\n/srv"""\n')

    run("config", "set", "home", "/other", capsys=capsys, status=2)

    assert file.read_text() == 'home = """\n/srv"""\n'


def test_setting_says_when_it_has_no_effect_here(place, monkeypatch, capsys):
    monkeypatch.setenv("MESH_OUTPUT", "json")

    _, err = run("config", "set", "output", "yaml", capsys=capsys)

    assert err == "mesh: $MESH_OUTPUT goes before it: output is json here\n"


def test_passwords_are_never_shown(place, capsys):
    uri = "postgresql://joe:pa:ss@word@db/x?password=hunter2&sslmode=require"
    said = "".join(run("context", "add", "lab", f"model={uri}", "--use", capsys=capsys))
    for line in (
        "config explain -o json", "config get model", "context show -o json", "context ls -o jsonl",
        "config set model postgresql://joe:pa:ss@word@db/y",
    ):  # fmt: skip
        said += "".join(run(*line.split(), capsys=capsys))

    assert "pa:ss" not in said
    assert "word@" not in said
    assert "hunter2" not in said
    assert "joe:***@db/x" in said
    assert paths.model_uri() == uri


def test_contexts_come_and_go(place, capsys):
    run("context", "add", "lab", "home=/srv/lab", capsys=capsys)
    run("context", "add", "prod", "home=/srv/prod", "--use", capsys=capsys)
    assert paths.home() == "/srv/prod"
    rows = json.loads(run("context", "ls", "-o", "json", capsys=capsys)[0])["items"]
    assert [(r["name"], r["current"]) for r in rows] == [("lab", False), ("prod", True)]
    run("context", "rm", "prod", "-y", capsys=capsys, status=6)
    run("context", "add", "lab", capsys=capsys, status=6)
    assert "did you mean 'lab'" in run("context", "use", "lb", capsys=capsys, status=3)[1]
    run("context", "use", "none", capsys=capsys)
    run("context", "rm", "prod", "-y", capsys=capsys)

    assert paths.home() == str(place / "me" / ".local/share/meshcode")
    assert run("--context", "prod", "status", capsys=capsys, status=2)[1].startswith(
        "mesh: there is no context 'prod', chosen by --context"
    )


def test_a_context_by_option_hides_the_node_of_the_environment(place, monkeypatch, capsys):
    run("context", "add", "lab", f"home={place}/lab", capsys=capsys)
    monkeypatch.setenv("MESH_NODE", "ipc:///elsewhere")
    monkeypatch.setenv("MESH_HOME", "/elsewhere")

    _, err = run("--context", "lab", "status", capsys=capsys, status=7)

    assert f"ipc://{place}/lab/run/clients.ipc" in err


def test_the_context_is_no_setting_to_set(place, capsys):
    _, err = run("config", "set", "context", "lab", capsys=capsys, status=2)

    assert "chosen with `mesh context use NAME`" in err


def test_the_file_of_the_system_is_for_every_user(place, monkeypatch, capsys):
    """It was closed to all but root, whose umask may be narrow; also one that is there already."""
    file = place / "new" / "meshcode" / "config.toml"
    monkeypatch.setattr(config, "SYSTEM_FILE", str(file))
    mask = os.umask(0o077)
    try:
        run("config", "set", "output", "json", "--system", capsys=capsys)
        assert [p.stat().st_mode & 0o777 for p in (file, file.parent)] == [0o644, 0o755]
        file.chmod(0o600)
        file.parent.chmod(0o700)
        run("config", "set", "output", "yaml", "--system", capsys=capsys)
    finally:
        os.umask(mask)

    assert [p.stat().st_mode & 0o777 for p in (file, file.parent)] == [0o644, 0o755]


def test_no_password_goes_into_the_file_of_the_system(place, capsys):
    file = place / "etc" / "config.toml"
    for uri in ("postgresql://joe:hunter2@db/x", "postgresql://joe@db/x?password=hunter2"):
        _, err = run("config", "set", "model", uri, "--system", capsys=capsys, status=2)
        assert "can be read by every user" in err
        assert "hunter2" not in err
        assert not file.exists()
    run("config", "set", "model", "postgresql://joe@db/x?passfile=/p", "--system", capsys=capsys)
    # One from the time when the file was private is not opened to everybody by another setting.
    old = 'model = "postgresql://joe:hunter2@db/x"\n'
    file.write_text(old)
    run("config", "set", "output", "json", "--system", capsys=capsys, status=2)
    assert file.read_text() == old


def test_taking_away_what_is_not_there_writes_nothing(place, capsys):
    file = place / "etc" / "config.toml"

    out, _ = run("config", "unset", "output", "--system", capsys=capsys)
    assert "output was not set in" in out
    _, err = run("config", "unset", "outptu", "--system", capsys=capsys, status=2)
    assert "did you mean 'output'?" in err
    assert not file.exists()

    file.write_text('output = "json"\n')
    assert "output is not set in" in run("config", "unset", "output", "--system", capsys=capsys)[0]
    assert file.read_text() == ""


def test_a_file_of_the_system_that_is_closed_to_us_is_a_warning(place, monkeypatch, capsys):
    with closed_file() as path:
        monkeypatch.setattr(config, "SYSTEM_FILE", path)
        monkeypatch.setenv("XDG_CONFIG_HOME", os.path.join(os.path.dirname(path), "none"))
        with as_nobody():
            out, err = run("config", "get", "output", capsys=capsys)
            assert out == "table\n"
            assert err == f"mesh: {path} cannot be read: Permission denied; it is not used\n"
            _, err = run("config", "validate", capsys=capsys, status=2)
    assert err.count(path) == 1
    config.unread.clear()


@contextlib.contextmanager
def closed_file():
    """A file in a folder that all may enter, which only its owner, or root, may read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "config.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write('output = "json"\n')
        os.chmod(path, 0o600 if os.geteuid() == 0 else 0)
        yield path


@contextlib.contextmanager
def as_nobody():
    """Root reads whatever it likes, so this is for a while somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_init_asks_nobody_when_nobody_is_there(place, capsys):
    assert "nobody is here to ask" in run("config", "init", capsys=capsys, status=2)[1]

    run("config", "init", "home=/srv/x", "output=json", capsys=capsys)

    assert (paths.home(), config.value("output")) == ("/srv/x", "json")


def test_what_wants_one_file_takes_one(place, capsys):
    run("config", "set", "output", "json", "--project", "--system", capsys=capsys, status=2)
    run("config", "set", "output", "json", "--project", capsys=capsys)

    assert (place / "project" / "deep" / "mesh.toml").read_text() == 'output = "json"\n'


def test_unknown_names_are_an_error_of_the_library_too(place):
    with pytest.raises(CallerError, match="did you mean 'home'"):
        config.check("hom", "x", "here")


def test_init_asks_on_a_terminal_until_the_answers_are_good(place):
    """Enter keeps what is there; what is refused is asked again."""
    wanted = ["/srv/pty", "", "", "nonsense", "json", ""]
    child, terminal = pty.fork()
    if child == 0:
        words = [sys.executable, "-m", "meshcode.cli", "config", "init"]
        os.execve(sys.executable, words, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    said = b""
    try:
        while chunk := _read(terminal):
            said += chunk
            if said.rstrip().endswith(b":") and wanted:
                os.write(terminal, wanted.pop(0).encode() + b"\n")
                said += b"\n"
    finally:
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    file = place / "xdg" / "meshcode" / "config.toml"
    assert (status, wanted) == (0, [])
    assert file.read_text() == 'home = "/srv/pty"\noutput = "json"\n'
    assert b"output is 'nonsense'; it must be one of table, wide" in said


def _read(terminal):
    ready, _, _ = select.select([terminal], [], [], 20)
    try:
        return os.read(terminal, 4096) if ready else b""
    except OSError:  # How Linux says that the other end is closed.
        return b""
