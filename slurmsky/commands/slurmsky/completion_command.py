"""slurmsky completion: shell completion scripts for all commands."""

from __future__ import annotations

import click

from ._base import SlurmskyCommand

SHELLS = ("bash", "zsh", "fish")
#: Each subcommand with the words that may follow it: its choices, else its options. Shells run this module when they
#: start, and an import of all commands would take 0.2 s.
OWN_WORDS = {name: tuple(words.split()) for name, words in (
    ("why", "--json --help"), ("top", "--iterate --help"),
    ("report", "--since --until --user --allusers --output --help"), ("tunnel", "--node --bind --json --help"),
    ("explain", "--json --html --engine --no-prices --output-file --help"), ("translate", "--serve --check --help"),
    ("site", "check init"), ("status", "--json --help"), ("stop", "--help"), ("doctor", "--json --help"),
    ("clean", "--dry-run --days --environments --help"), ("service", "install status uninstall"),
    ("uninstall", "--cancel-jobs --keep-history --yes --help"), ("completion", "bash zsh fish"), ("man", "--help"),
    ("version", "--help"), ("help", "--help"),
)}  # fmt: skip


@click.command(cls=SlurmskyCommand, example='eval "$(slurmsky completion bash)"      in ~/.bashrc\n'
               'eval "$(slurmsky completion zsh)"       in ~/.zshrc, behind compinit\n'
               "slurmsky completion fish | source       in ~/.config/fish/config.fish", page="guide")  # fmt: skip
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the completion script of a shell, for all commands: options, values, partitions, nodes, jobs."""
    from ...options import completion, completion_fish

    write = {"bash": completion.bash, "zsh": completion.zsh, "fish": completion_fish.fish}[shell]
    click.echo(write(OWN_WORDS), nl=False)
    return 0
