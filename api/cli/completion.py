"""`tumbler completion`."""

from typing import Literal

from api.cli.main import build_app


def completion(shell: Literal["bash", "zsh", "fish"] = "bash", /) -> None:
    """Print the completion script for a shell.

    For bash: tumbler completion bash > ~/.local/share/bash-completion/completions/tumbler
    """
    print(build_app().generate_completion(shell=shell))
