"""Users, roles and privileges: `mesh add|update|delete|get|ls ...`, `mesh user add|remove`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click

from meshcode.cli import objects, output
from meshcode.cli.noun import Noun, entries
from meshcode.cli.objects import Field
from meshcode.cli.options import Words, command, complete, listing, styled
from meshcode.cli.output import Style, column
from meshcode.cli.secret import new_password, new_password_options, password_options, take_password
from meshcode.cli.session import model, session, tell_left_out
from meshcode.cli.session import objects as all_objects
from meshcode.errors import NotAllowed, WrongState
from meshcode.nearest import nearest

_TEXT = click.STRING
_ODD = re.compile(r"[^A-Za-z0-9._:/@-]")


def _list(_ctx: click.Context, _param: click.Parameter, given: str | None) -> list[str] | None:
    if given is None:
        return None
    return [] if given == "none" else [part.strip() for part in given.split(",") if part.strip()]


ROLE = Noun(
    "role",
    [Field(("--description",), "description", _TEXT, "A few words.", metavar="TEXT")],
    [column("name"), column("description"), column("owner")],
    what="a name for privileges that several users have; `admin` has all.",
    example="developer",
)
USER = Noun(
    "user",
    [Field(("-e", "--email"), "email", _TEXT, "Address.", metavar="ADDRESS")],
    [column("name"), column("email"), column("roles"), column("enabled"), column("password"),
     column("owner")],
    what="somebody who may do what privileges say.",
    example="joe -e joe@example.org",
)  # fmt: skip
PRIVILEGE = Noun(
    "privilege",
    [
        Field(("--right",), "right", _TEXT, "One of `mesh ls rights`.", metavar="RIGHT"),
        Field(("--on",), "on", _TEXT, "Objects it is for: processor:x*, label:env=prod.",
              metavar="KIND:PATTERN"),
        Field(("--revoked",), "revoked", click.BOOL, "Denied instead of given.", metavar="BOOL"),
    ],
    [column("name"), column("right"), column("user"), column("role"), column("on"),
     column("revoked")],
    what="give a right.",
    example="joe/RUN_TASK --on processor:shop",
)  # fmt: skip
globals().update(entries({noun.kind: noun for noun in (ROLE, USER, PRIVILEGE)}))


def _user_options(decorated: Any) -> Any:
    for option in (
        click.option("-e", "--email", metavar="ADDRESS", help="Address."),
        click.option("--roles", callback=_list, metavar="A,B", help="Roles; `none` for none."),
        click.option("--keys", callback=_list, metavar="A,B",
                     help="Public keys of clients over TCP that are this user; `none` for none."),
        click.option("--enabled/--disabled", default=None, help="Whether it may do anything."),
    ):  # fmt: skip
        decorated = option(decorated)
    return decorated


@command()
@objects.name_option("user")
@password_options
@_user_options
@objects.exists_ok_option
@styled
def add_user(
    name: str, ask_password: bool, password_file: Any, exists_ok: bool, style: Style, **given: Any
) -> None:
    """Add a user.  The password, 8 to 1024 characters, is asked for, or read; it is no argument.

    Examples:
      mesh add user -n joe -e joe@example.org
      mesh add user -n joe --password-file /run/secrets/joe --roles developer
      MESH_PASSWORD=... mesh add user -n joe
    """
    password = take_password(ask=ask_password, file=password_file, twice=True, optional=True)
    objects.add("user", name, {**given, "password": password}, style, exists_ok=exists_ok)


@command()
@objects.one_name("user")
@new_password_options
@_user_options
@click.option("--old", is_flag=True, help="Ask for the password it has: to change one's own.")
@click.option("--old-file", type=click.Path(exists=True, dir_okay=False),
              help="File whose first line is that.")
@styled
def update_user(
    name: str, ask_password: bool, password_file: Any, no_password: bool, old: bool,
    old_file: str | None, style: Style, **given: Any,
) -> None:  # fmt: skip
    """Change a user; --password asks for a new one, which ends all logins. Without a password
    nobody can log in as the user; its keys hold.

    Examples:
      mesh update user joe --old --password
      mesh update user joe --disabled
      mesh update user joe --keys "$(cut -d' ' -f1 joe.pub)"
    """
    password = new_password(ask=ask_password, file=password_file, gone=no_password)
    before = {}
    if old or old_file:
        before["old_password"] = take_password(
            ask=old, file=old_file, option="--old", prompt="Old password", kept=False
        )
    objects.update("user", name, {**given, **password}, style, **before)


def _check_right(right: str) -> None:
    """Refuse a right that the original had and this has not, with what to give instead.

    Raises:
        click.UsageError: it is one.
    """
    from meshcode.cli import original  # Most are right.

    instead = original.of_right(right)
    if instead is not None:
        text = f"there is no right {right}: {instead}; `mesh ls rights` shows all"
        raise click.UsageError(text, click.get_current_context())


def _rights() -> Iterable[str]:
    from meshcode.model.rightnames import RIGHTS

    return RIGHTS


_RIGHT = Words(_rights)


def privilege_name(right: str, user: str | None, role: str | None, on: str | None) -> str:
    """The name of a privilege that was given none: the same for the same."""
    name = f"{user}/{right}" if user else f"{role}:{right}"
    if on is None:
        return name
    shown = _ODD.sub(".", on)
    if shown != on:  # Patterns that look alike must not share a name.
        from hashlib import blake2b

        text = on.encode(errors="surrogateescape")  # What is no Unicode the request refuses.
        shown += f".{blake2b(text, digest_size=4).hexdigest()}"
    return f"{name}@{shown}"


@command()
@click.option(
    "-n", "--name", "right", required=True, type=_RIGHT, metavar="RIGHT", help="The right."
)
@click.option("-u", "--user", shell_complete=complete("user"), help="Who gets it.")
@click.option(
    "-ro", "-r", "--role", shell_complete=complete("role"), help="Whose members get it."
)
@click.option("--on", metavar="KIND:PATTERN", help="On these only: processor:p*, label:env=prod.")
@click.option("--revoke", is_flag=True, help="Deny it, whoever gives it.")
@click.option("--as", "name", metavar="NAME", help="Name of the privilege.  [default: made of it]")
@objects.exists_ok_option
@styled
def add_privilege(
    right: str, user: str | None, role: str | None, on: str | None, revoke: bool,
    name: str | None, exists_ok: bool, style: Style,
) -> None:  # fmt: skip
    """Give a right to a user or a role, or deny it; a denial wins.

    Examples:
      mesh add privilege -u joe -n RUN_TASK
      mesh add privilege -ro developer -n ADD_PROCESSOR
      mesh add privilege -u joe -n RUN_TASK --revoke --on processor:bank
    """
    if (user is None) == (role is None):
        text = "give a user with -u, or a role with -ro; one of the two"
        raise click.UsageError(text, click.get_current_context())
    _check_right(right)
    named = name or privilege_name(right, user, role, on) + ("/not" if revoke else "")
    given = {"right": right, "user": user, "role": role, "on": on, "revoked": revoke or None}
    objects.add("privilege", named, given, style, exists_ok=exists_ok)


@command()
@listing
def ls_rights(style: Style) -> None:
    """List all rights there are; no node is asked.

    Examples:
      mesh ls rights
    """
    from meshcode.model.rightnames import RIGHTS

    rows = [{"name": right, "allows": text} for right, text in RIGHTS.items()]
    output.show("right", rows, [column("name"), column("allows")], style, empty="no rights")


@command()
@objects.one_name("user")
@styled
def ls_user(name: str, style: Style) -> None:
    """Show a user with the privileges it has, by itself and by its roles.

    Examples:
      mesh ls user joe
    """
    with session() as client:
        item = objects.one(client, "user", name)
        roles = item.get("roles") or []
        try:
            rows = all_objects(client, "privilege")
        except NotAllowed as error:  # Who may see users need not see what others may do.
            me = client.ask("whoami")
            if me["user"] == name:
                item["privileges"] = me["privileges"]
            else:
                tell_left_out({"privileges": error})
        else:
            item["privileges"] = [_said(r) for r in rows if r["user"] == name or r["role"] in roles]
    output.show_facts("user", item, objects.pairs_of(item), style)


def _said(row: dict[str, Any]) -> str:
    words = [("not " if row["revoked"] else "") + str(row["right"])]
    words += [f"on {row['on']}"] if row["on"] else []
    words += [f"(role {row['role']})"] if row["role"] else []
    return " ".join(words)


def _which(role: str | None, privilege: str | None) -> None:
    if role is None and privilege is None:
        text = "give a role with -r, a right with -p, or both"
        raise click.UsageError(text, click.get_current_context())


_role_option = click.option(
    "-r", "--role", shell_complete=complete("role"), help="A role."
)
_privilege_option = click.option(
    "-p", "--privilege", type=_RIGHT, metavar="RIGHT", help="A right."
)


@command(name="add")
@objects.one_name("user", "-u")
@_role_option
@_privilege_option
@styled
def user_add(name: str, role: str | None, privilege: str | None, style: Style) -> None:
    """Give a user a role, a right, or both.

    Examples:
      mesh user add joe -r developer
      mesh user add joe -p RUN_TASK
    """
    _which(role, privilege)
    if privilege is not None:
        _check_right(privilege)
        given = {"right": privilege, "user": name}
        named = privilege_name(privilege, name, None, None)
        if role is None:
            objects.add("privilege", named, given, style, exists_ok=True)
            return
        with session() as client:  # One document is printed: the user, at the end.
            added = model(client, "add", "privilege", named, **given, exists_ok=True)
        if style.is_text:
            objects.done("privilege", named, objects.verb_of(added), added, style)
    with session() as client:
        item = objects.one(client, "user", name)
        roles = [*(r for r in item["roles"] if r != role), role]
        answer = model(client, "update", "user", name, roles=roles, revision=item["revision"])
    objects.done("user", name, f"has role {role}", answer, style)


@command(name="remove")
@objects.one_name("user", "-u")
@_role_option
@_privilege_option
@styled
def user_remove(name: str, role: str | None, privilege: str | None, style: Style) -> None:
    """Take a role from a user, every privilege of it with that right, or both.

    What the user does not have is refused, and nothing is taken.

    Examples:
      mesh user remove joe -r developer
      mesh user remove joe -p RUN_TASK
    """
    _which(role, privilege)
    with session() as client:
        item = objects.one(client, "user", name)
        given = [] if privilege is None else _given_to(client, name, privilege)
        if role is not None and role not in item["roles"]:
            raise WrongState(
                f"user {name!r} has no role {role!r}, it has {', '.join(item['roles']) or 'none'};"
                " nothing was changed", kind="user", name=name,
            )  # fmt: skip
        if role is not None:
            roles = [r for r in item["roles"] if r != role]
            item = model(client, "update", "user", name, roles=roles, revision=item["revision"])
            if privilege is None or style.is_text:
                objects.done("user", name, f"has no role {role}", item, style)
        if privilege is None:
            return
        for row in given:
            model(client, "delete", "privilege", row["name"])
    objects.done("user", name, f"has no {privilege} of its own", item, style)


def _given_to(client: Any, user: str, right: str) -> list[dict[str, Any]]:
    """The privileges that give a user a right by itself, at least one.

    Raises:
        WrongState: none does, or there is no such right.
    """
    rows = [r for r in all_objects(client, "privilege") if r["user"] == user and not r["revoked"]]
    found = [row for row in rows if row["right"] == right]
    if not found:
        like = nearest(right, [str(row["right"]) for row in rows])
        hint = f"; did you mean {like!r}?" if like else ""
        raise WrongState(
            f"user {user!r} has no {right} of its own{hint}; nothing was changed; `mesh ls user"
            f" {user}` shows what it has, and by which role", kind="user", name=user,
        )  # fmt: skip
    return found
