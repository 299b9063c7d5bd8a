"""Packages made on the spot, so that builds of environments need no network."""

from __future__ import annotations

import importlib.metadata
import zipfile
from pathlib import Path

WHEEL = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Write a wheel of pure Python files; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": WHEEL,
    }
    return _write(folder / f"{name}-{version}-py3-none-any.whl", info, everything)


def repack(folder: Path, name: str) -> Path:
    """Make a wheel again of a pure Python package that is installed here."""
    found = importlib.metadata.distribution(name)
    texts: dict[str, bytes] = {}
    info = ""
    for file in found.files or []:
        path = Path(str(found.locate_file(file)))
        if ".." in file.parts or "__pycache__" in file.parts or not path.is_file():
            continue
        if file.parts[0].endswith(".dist-info"):
            info = file.parts[0]
            if file.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
                continue
        texts[str(file)] = path.read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl", info, texts)


def _write(path: Path, info: str, files: dict) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    return path


# A build backend within the repository: what it installs depends on nothing but itself.
BACKEND = """
import zipfile
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "demo-1.0-py3-none-any.whl"
    files = {
        "demo_built.py": "WHERE = __file__\\n",
        "demo-1.0.dist-info/METADATA":
            "Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\nRequires-Dist: tiny>=1\\n",
        "demo-1.0.dist-info/WHEEL":
            "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "demo-1.0.dist-info/entry_points.txt": "[console_scripts]\\ndemo = demo_built:main\\n",
    }
    with zipfile.ZipFile(wheel_directory + "/" + name, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr("demo-1.0.dist-info/RECORD",
            "".join(path + ",,\\n" for path in [*files, "demo-1.0.dist-info/RECORD"]))
    open("left-behind-by-the-build", "w").close()
    return name
"""
PYPROJECT = (
    '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    '[project]\nname = "demo"\nversion = "1.0"\ndependencies = ["tiny>=1"]\n'
)
