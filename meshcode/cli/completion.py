"""`mesh completion`: the script that teaches a shell to complete `mesh`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from meshcode.cli import output
from meshcode.cli.options import command


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell; it completes names of objects too.

    Examples:
      mesh completion bash >> ~/.bashrc
      mesh completion zsh >> ~/.zshrc
      mesh completion fish > ~/.config/fish/completions/mesh.fish
    """
    from meshcode.cli.app import root

    found = get_completion_class(shell)
    assert found is not None, shell
    output.write(found(root(), {}, "mesh", "_MESH_COMPLETE").source())
