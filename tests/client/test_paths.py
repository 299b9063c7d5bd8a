"""Where things are: one answer for node, client and command."""

from __future__ import annotations

import os
import stat

import pytest

from meshcode import paths
from meshcode.errors import NodeError, NotAllowed


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("MESH_HOME", "MESH_NODE", "MESH_MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_the_default_home_is_in_the_users_data_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")

    assert paths.home() == "/home/ann/.local/share/meshcode"
    assert paths.clients_address() == "ipc:///home/ann/.local/share/meshcode/run/clients.ipc"
    assert paths.workers_address() == "ipc:///home/ann/.local/share/meshcode/run/workers.ipc"


def test_mesh_home_moves_everything(monkeypatch):
    monkeypatch.setenv("MESH_HOME", "/srv/mesh")

    assert paths.data_dir() == "/srv/mesh/data"
    assert paths.code_dir() == "/srv/mesh/code"
    assert paths.log_file() == "/srv/mesh/log/node.log"
    assert paths.pid_file() == "/srv/mesh/run/node.pid"
    assert paths.model_uri() == "sqlite:////srv/mesh/model/model.db"


def test_mesh_node_wins_over_the_home_but_not_over_a_folder_that_is_named(monkeypatch):
    monkeypatch.setenv("MESH_HOME", "/srv/mesh")
    monkeypatch.setenv("MESH_NODE", "ipc:///elsewhere/clients.ipc")

    assert paths.clients_address() == "ipc:///elsewhere/clients.ipc"
    assert paths.clients_address("/srv/other") == "ipc:///srv/other/run/clients.ipc"


def test_mesh_model_names_another_database(monkeypatch):
    monkeypatch.setenv("MESH_MODEL", "postgresql://db/mesh")

    assert paths.model_uri("/srv/mesh") == "postgresql://db/mesh"


def test_the_folders_are_made_for_their_owner_only(tmp_path):
    base = str(tmp_path / "home")

    paths.make_folders(base)
    os.chmod(paths.run_dir(base), 0o755)
    paths.make_folders(base)

    assert sorted(os.listdir(base)) == ["code", "data", "log", "model", "run"]
    assert stat.S_IMODE(os.stat(base).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(paths.run_dir(base)).st_mode) == 0o700


def test_a_short_home_keeps_its_links_in_run(tmp_path_factory):
    base = f"/tmp/mc-{os.urandom(4).hex()}"
    paths.make_folders(base)
    try:
        with open(paths.ipc_path_file(base), "w") as file:
            file.write("/tmp/left-over\n")

        assert paths.make_ipc_dir(base) == paths.run_dir(base)
        assert paths.ipc_dir(base) == paths.run_dir(base)
    finally:
        for folder in ("run", "data", "model", "code", "log"):
            os.rmdir(f"{base}/{folder}")
        os.rmdir(base)


def test_a_long_home_gets_a_private_folder_and_keeps_it(tmp_path):
    """A restarted node binds in the same folder, so waiting clients find it."""
    base = str(tmp_path / ("long-" * 20))
    paths.make_folders(base)

    first = paths.make_ipc_dir(base)
    try:
        assert len(os.fsencode(first + "/workers.ipc")) <= paths.IPC_PATH_BYTES_MAX
        assert stat.S_IMODE(os.stat(first).st_mode) == 0o700
        assert paths.clients_address(base) == f"ipc://{first}/clients.ipc"
        assert paths.make_ipc_dir(base) == first
    finally:
        os.rmdir(first)


def test_a_folder_others_can_enter_is_not_taken_again(tmp_path):
    """Somebody else may have made a folder of that name while no node ran."""
    base = str(tmp_path / ("long-" * 20))
    paths.make_folders(base)
    first = paths.make_ipc_dir(base)
    os.chmod(first, 0o755)

    second = paths.make_ipc_dir(base)

    try:
        assert second != first
        assert paths.ipc_dir(base) == second
    finally:
        os.rmdir(first)
        os.rmdir(second)


def test_a_folder_that_was_dropped_is_made_again_under_its_name(tmp_path):
    base = str(tmp_path / ("long-" * 20))
    paths.make_folders(base)
    first = paths.make_ipc_dir(base)
    open(f"{first}/clients.ipc", "w").close()

    paths.drop_ipc_dir(base)
    assert not os.path.exists(first)
    assert paths.clients_address(base) == f"ipc://{first}/clients.ipc"
    try:
        assert paths.make_ipc_dir(base) == first
        assert stat.S_IMODE(os.stat(first).st_mode) == 0o700
    finally:
        paths.drop_ipc_dir(base)


@pytest.fixture
def another_user():
    """The number of one; only root can give folders away."""
    if os.geteuid():
        pytest.skip("only root gives folders to others")
    return 1001


def test_the_links_of_a_long_home_that_another_user_made_are_not_used(tmp_path, another_user):
    """After a reboot its name under /tmp is anybody's, and a client would send its password."""
    base = str(tmp_path / ("long-" * 20))
    paths.make_folders(base)
    first = paths.make_ipc_dir(base)
    os.chown(first, another_user, another_user)
    try:
        with pytest.raises(NotAllowed, match=f"{first} belongs to user {another_user}, and you"):
            paths.clients_address(base)
        os.chown(first, os.geteuid(), os.getegid())
        os.chmod(first, 0o777)
        with pytest.raises(NotAllowed, match=r"can be written to by others .*nothing was sent"):
            paths.clients_addresses(base)
    finally:
        os.rmdir(first)


@pytest.mark.parametrize("name", ["", "run", "data"])
def test_a_home_that_others_may_write_to_is_refused(tmp_path, name):
    base = str(tmp_path / "home")
    paths.make_folders(base)
    folder = os.path.join(base, name).rstrip("/")
    os.chmod(folder, 0o777)

    with pytest.raises(NodeError, match=rf"{folder} can be written to by others .*go-w {folder}"):
        paths.make_folders(base)
    os.chmod(folder, 0o770)  # Of the group of its user.
    paths.make_folders(base)
    if not os.geteuid():
        os.chown(folder, -1, os.getegid() + 4_000)
        assert paths.folders_problem(base) or name == "run"


def test_a_run_folder_that_another_user_put_there_is_not_used(tmp_path, another_user):
    base = str(tmp_path / "home")
    paths.make_folders(base)
    os.chown(paths.run_dir(base), another_user, another_user)

    with pytest.raises(NotAllowed, match=f"/run belongs to user {another_user}, and you are user"):
        paths.clients_address(base)
    with pytest.raises(NodeError, match="others could take the place of what is in it"):
        paths.make_folders(base)


def test_root_may_use_the_home_of_another_user(tmp_path, another_user):
    base = str(tmp_path / "home")
    paths.make_folders(base)
    for folder in (base, *(os.path.join(base, name) for name in os.listdir(base))):
        os.chown(folder, another_user, another_user)

    paths.make_folders(base)
    assert paths.clients_address(base) == f"ipc://{base}/run/clients.ipc"
