"""`mesh cheat`: the commands that are typed every day, by what one wants."""

from __future__ import annotations

import click

from meshcode.cli import output
from meshcode.cli.options import command
from meshcode.errors import UnknownObject

TOPICS = {
    "start": """
        mesh up                                             start the node of this user
        mesh dev                                            one to try things on
        mesh status                                         what it does
        mesh doctor                                         what this machine lacks
        mesh down                                           finish what runs, and stop
    """,
    "code": """
        mesh add queue -n q1                                a waiting line
        mesh add processor -n shop -g file:///srv/shop -m shop.tasks --wait
        mesh add socket -n shop.clean -q q1 -pn shop -t clean
        mesh update processor -n shop -c 4f2a9c1 --wait     other code, no restart
        mesh proc restart -n shop                           fresh workers
        mesh add queue -n q2 --dry-run                      only check it
    """,
    "call": """
        mesh run shop.clean "some text"                     call, and print the result
        mesh run shop.clean x --no-wait                     print the id
        mesh call get 0192f3c1 --timeout 30s                wait for it later
        mesh call cancel 0192f3c1                           end it
        mesh call retry 0192f3c1                            try again what failed or is held
    """,
    "time": """
        mesh run shop.clean x --at 18:00 --no-wait          begin later
        mesh add schedule -n poll -s shop.poll -i 30s       call it again and again
        mesh add schedule -n night -s shop.report -c '0 3 * * *' -tz Europe/Berlin
        mesh ls jobs                                        what runs next, and when
        mesh schedule pause night                           and resume
    """,
    "look": """
        mesh ls calls -u                                    what has not ended
        mesh ls call 0192f3c1 -r                            one call, whole
        mesh ls call 0192f3c1 -g                            its flow as a tree
        mesh ls queues -w                                   what waits, as it changes
        mesh ls stats                                       the same by socket
        mesh logs shop.clean -f                             what tasks print
        mesh listen -n shop.clean                           calls and results, as JSON lines
    """,
    "shape": """
        mesh ls network shop -v                             a network as a tree
        mesh ls socket shop.clean -g                        where its results go
        mesh ls processor shop -g                           its deployments, workers, sockets
        mesh ls task shop.clean -c                          a task with its source
    """,
    "mesh": """
        mesh init                                           this node is the first of a mesh
        mesh invite                                         a line for one other node
        mesh join LINE                                      on the other host
        mesh nodes                                          who is there
        mesh node leave                                     say good-bye, and stop
        mesh recover                                        what waits for a person
    """,
    "settings": """
        mesh config explain                                 each value, and where it is from
        mesh config set output json                         for this user, from now on
        mesh context add lab home=/srv/lab --use            settings under a name
        mesh --context lab status                           for one command
    """,
    "scripts": """
        mesh ls sockets -q                                  names only
        mesh ls calls -o json                               {"kind", "schema", "items"}
        mesh ls sockets -o csv --columns name,task          for a spreadsheet
        mesh get processor shop -o jsonl -w                 one line for each change
        mesh completion bash                                names by Tab
        mesh man ls calls                                   a manual page
    """,
}


@command()
@click.argument("topic", required=False, metavar="[TOPIC]")
def cheat(topic: str | None) -> None:
    """Print the commands of every day, by what one wants; with a topic, only those.

    Examples:
      mesh cheat
      mesh cheat look
    """
    if topic is not None and topic not in TOPICS:
        raise UnknownObject(f"there is no topic {topic!r}; there are {', '.join(TOPICS)}")
    for name in TOPICS if topic is None else [topic]:
        output.write(name.upper())
        for line in TOPICS[name].strip().splitlines():
            output.write("  " + line.strip())
