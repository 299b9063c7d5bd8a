"""The peers' environment: their Python packages, and their servers from Debian's packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench import machine

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
SERVERS = {"redis-server": "redis-server", "rabbitmq-server": "rabbitmq-server", "strace": "strace"}
POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it whether a new service may be started.


def folder() -> Path:
    """Where the environment is: `$MESHCODE_PEERS_VENV`, else beside `.venv`."""
    return Path(os.environ.get("MESHCODE_PEERS_VENV") or machine.ROOT / ".venv-peers")


def python() -> Path:
    """Its Python, which may not be there."""
    return folder() / "bin" / "python"


def requirements() -> list[str]:
    """The pinned distributions."""
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    return [line for line in lines if line]


def install_packages() -> list[str]:
    """Make the environment as `requirements.txt` has it; what could not be installed.

    A second call with the same file costs nothing.
    """
    stamp = folder() / ".installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted and python().exists():
        return []
    print(f"bench-peers: installing the peers into {folder()} (once)", file=sys.stderr, flush=True)
    if not python().exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder())], check=True)
    pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=False).returncode:
        stamp.write_text(wanted)
        return []
    missing = []
    for line in requirements():
        if subprocess.run([*pip, line], check=False).returncode:
            missing.append(line)
    return missing


def missing_servers() -> list[str]:
    """Debian packages of programs that are not there."""
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    return [package for name, package in SERVERS.items() if not shutil.which(name, path=path)]


def install_servers() -> list[str]:
    """Install those that are missing, as root on Debian, without starting or enabling a service.

    Returns the packages that are still missing.
    """
    missing = missing_servers()
    if not missing or os.getuid() != 0 or not shutil.which("apt-get"):
        return missing
    print(f"bench-peers: apt-get install {' '.join(missing)}", file=sys.stderr, flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")  # "Forbidden by policy."
        POLICY.chmod(0o755)
    try:
        install = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *missing]
        for words in (["apt-get", "update", "--quiet"], install):
            subprocess.run(words, env=env, stdout=subprocess.DEVNULL, check=False)
    finally:
        if ours:
            POLICY.unlink()
    if shutil.which("systemctl"):
        services = [name for name in missing if name.endswith("-server")]
        words = ["systemctl", "--quiet", "disable", *services]
        subprocess.run(words, stderr=subprocess.DEVNULL, check=False)
    return missing_servers()
