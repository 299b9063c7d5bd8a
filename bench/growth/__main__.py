"""Growth curves: `./dev bench growth [NAME..] [--out FOLDER]`, by default all of them.

Each runs in a process of its own.  With one name its own options may follow:
`./dev bench growth waiting --waiting 0,1M,10M`; `--help` tells them.
"""

from __future__ import annotations

import subprocess
import sys

from bench import machine

CURVES = (
    "waiting", "history", "recovery", "clients", "workers", "sockets", "payloads", "latency",
    "memory",
)  # fmt: skip
COMMON = ("--out",)


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """The names, and the options behind them.

    Raises:
        ValueError: there is no such curve, or options of one curve were given to several.
    """
    at = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    names, options = words[:at], words[at:]
    unknown = [name for name in names if name not in CURVES]
    if unknown:
        raise ValueError(f"there is no curve {unknown[0]!r}; there are {', '.join(CURVES)}")
    given = [word.partition("=")[0] for word in options if word.startswith("--")]
    own = [word for word in given if word not in COMMON]
    if len(names) != 1 and own:
        raise ValueError(f"{own[0]} is an option of one curve; name that curve alone before it")
    return names or list(CURVES), options


def main(words: list[str]) -> int:
    """Run each named curve; the first exit status that is not 0."""
    if words[:1] in (["-h"], ["--help"]):
        print(f"{__doc__}\nCurves: {', '.join(CURVES)}")
        return 0
    try:
        names, options = split(words)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    status = 0
    for name in names:
        print(f"\n== growth {name}", flush=True)
        command = [sys.executable, "-m", f"bench.growth.{name}", *options]
        status = subprocess.run(command, cwd=machine.ROOT, check=False).returncode or status
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
