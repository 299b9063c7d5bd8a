"""`mesh login`, `mesh logout`, `mesh whoami`."""

from __future__ import annotations

from typing import Any

import click

from meshcode.cli import objects, output, plain
from meshcode.cli.options import DURATION, command, styled
from meshcode.cli.output import Style
from meshcode.cli.secret import password_options, take_password
from meshcode.cli.session import session


@command()
@objects.one_name("user", ask=True)
@click.option("--for", "for_ms", type=DURATION, default="8h", show_default=True,
              help="How long, at most 30d.")
@password_options
@styled
def login(
    name: str, for_ms: int, ask_password: bool, password_file: str | None, style: Style
) -> None:  # fmt: skip
    """Become a user for some hours.  The password is asked for, or read; it is never an argument.

    The login is a file in the home, or $MESH_LOGIN_FILE, that only this user can read.

    Examples:
      mesh login -n joe
      mesh login -n joe --for 20m --password-file /run/secrets/joe
      MESH_PASSWORD=... mesh login -n joe
    """
    from meshcode.client.login import write_login

    password = take_password(ask=ask_password, file=password_file)
    with session() as client:
        found = client.ask("login", user=name, password=password, for_ms=for_ms)
    path = write_login(found["login"])
    shown = {"name": name, "until_ms": found["until_unix_ms"], "file": path}
    if style.format == "table":
        until = plain.local_time(found["until_unix_ms"])
        output.write(f"{name} is logged in until {until}; the login is in {path}")
        return
    output.show_facts("login", shown, [], style)


@command()
@click.option("--all", "everywhere", is_flag=True, help="Every login of this user, on every node.")
def logout(everywhere: bool) -> None:
    """End the login of this home; it holds no more, wherever a copy of it is.

    Other nodes hear of it as of any change of the model. Of one user 64 ended logins that are not
    over yet are remembered: the next logout ends every login of that user, and says so.

    Examples:
      mesh logout
      mesh logout --all
    """
    from meshcode.client.login import forget_login, login_file
    from meshcode.errors import ModelUnavailable, NoNode

    try:
        with session() as client:  # It shows the login that is to end.
            user = client.ask("whoami")["user"]
            everyone = everywhere
            try:
                everyone = bool(client.ask("logout", all=everywhere).get("all", everywhere))
            except ModelUnavailable as error:
                if everywhere or client.ask("whoami")["user"] is not None:
                    raise
                output.say(f"mesh: ended on this node; others could not be told: {error.text}")
    except NoNode:
        if forget_login():
            output.write(f"the login in {login_file()} is removed")
            output.say("mesh: no node could be told; a copy of it would hold until it is over")
            return
        raise
    had = forget_login()
    if user is None:  # The node knows nobody by the login that was kept, if there was one.
        output.write("a login that held no more is removed" if had else "nobody was logged in")
        return
    output.write(f"{user} is logged out" + (" everywhere" if everyone else ""))
    if everyone and not everywhere:
        output.say(f"mesh: no more ended logins can be remembered, so all of {user} were ended")


@command()
@styled
def whoami(style: Style) -> None:
    """Say who this shell is to the node, and what it may do.

    Examples:
      mesh whoami
      mesh whoami -o json
    """
    with session() as client:
        found: dict[str, Any] = client.ask("whoami")
    item = {"name": found["user"] or found["who"], **found}
    until = found["until_unix_ms"]
    facts = [
        ("name", item["name"]),
        ("who", _WHO[found["who"]]),
        ("roles", ", ".join(found["roles"])),
        ("until", plain.local_time(until) if until else ""),
        ("privileges", ", ".join(found["privileges"])),
        ("reason", found["reason"]),
    ]
    output.show_facts("principal", item, facts, style)


_WHO = {
    "owner": "the owner of the node: nothing is checked",
    "user": "a user: what its privileges say",
    "anybody": "anybody, since no user is declared yet",
    "nobody": "nobody: only mesh login is allowed",
}
