"""Writes docs/cli.md from the commands themselves: `python docs/make_cli_page.py`.

A command is described by its docstring. A test fails when the page is older than the commands.
"""

import re
from itertools import groupby
from pathlib import Path
from typing import Final

from api.cli.main import COMMANDS, build_app

PAGE: Final = Path(__file__).with_name("cli.md")
_CONTENTS: Final = re.compile(r"^#+ Table of Contents\n\n(?: *- .*\n)+\n", re.MULTILINE)
_ANCHORED: Final = re.compile(r"\]\(#([\w-]+)\)")
_USAGE: Final = re.compile(
    r"^(#+ )(tumbler .+)\n\n```console\n[a-z -]+?((?: (?:--|[A-Z[]).*)?)\n```", re.MULTILINE
)
"""The usage is made of the heading, since in it the library names the program that runs."""
_HEAD: Final = """\
# Commands

<!-- Written by docs/make_cli_page.py; edit the docstrings in api/cli. -->

`--help` of a command says the same. RUN is a name or id, a unique prefix of one, or where a command says
so the path of a run directory. Results go to stdout, all else to stderr; `-o json` is for programs.
`--debug` shows the traceback of an unexpected error. `NO_COLOR` is respected. Settings are in [the
service](service.md#up-and-down).

## Exit codes

| code | meaning |
|---|---|
| 0 | It worked. |
| 1 | Something unexpected, or something outside Tumbler failed. |
| 2 | The command makes no sense; usage. |
| 3 | The spec, its data or its code is not valid. |
| 4 | No such run, worker, node or checkpoint. |
| 5 | Not allowed. |
| 6 | A conflict: there already, not in a status for that, still in use. |
| 7 | No service answers. |
| 100 | The run FAILED. |
| 101 | The run is not over yet. |
| 103 | The run was CANCELLED. |
| 130 | Ctrl-C. What was followed goes on. |

Which error ends with which code is in [errors](errors.md).
"""


def cli_page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for group, commands in groupby(COMMANDS, key=lambda row: row[0]):
        parts.append(f"## {group}\n")
        parts += [_command(name) for _, name, _, _ in commands]
    return "\n".join(parts)


def _command(name: str) -> str:
    command = build_app(name)[name]
    text = str(command.generate_docs(heading_level=3, usage_name=f"tumbler {name}"))
    text = _CONTENTS.sub("", text)
    text = re.sub(r"^(#+) ", r"\1 tumbler ", text, flags=re.MULTILINE)
    text = _ANCHORED.sub(r"](#tumbler-\1)", text)
    text = re.sub(r"^(#+ tumbler) tumbler ", r"\1 ", text, flags=re.MULTILINE)
    return _USAGE.sub(r"\1\2\n\n```text\n\2\3\n```", text).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
