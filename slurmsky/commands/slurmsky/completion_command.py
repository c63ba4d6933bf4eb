"""slurmsky completion: shell completion scripts for all commands."""

from __future__ import annotations

import click

from ._base import SlurmskyCommand

SHELLS = ("bash", "zsh", "fish")


def own_words() -> dict[str, tuple[str, ...]]:
    """Each subcommand with the words that may follow it: its choices, else its options."""
    from ._application import ENTRIES, application

    ctx = click.Context(application, info_name="slurmsky")
    found = {}
    for entry in ENTRIES:
        command = application.get_command(ctx, entry.name)
        assert command is not None
        choices = command.list_commands(ctx) if isinstance(command, click.Group) else []
        options = []
        for param in command.get_params(ctx):
            if isinstance(param, click.Option):
                options += [name for name in param.opts if name.startswith("--")]
            elif isinstance(param.type, click.Choice):
                choices += [str(choice) for choice in param.type.choices]
        found[entry.name] = tuple(choices or options)
    return found


@click.command(cls=SlurmskyCommand, example='eval "$(slurmsky completion bash)"      in ~/.bashrc\n'
               'eval "$(slurmsky completion zsh)"       in ~/.zshrc, behind compinit\n'
               "slurmsky completion fish | source       in ~/.config/fish/config.fish", page="guide")  # fmt: skip
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the completion script of a shell, for all commands: options, values, partitions, nodes, jobs."""
    from ...options import completion, completion_fish, completion_zsh

    write = {"bash": completion.bash, "zsh": completion_zsh.zsh, "fish": completion_fish.fish}[shell]
    click.echo(write(own_words()), nl=False)
    return 0
