"""Every command in the documents is one that the command line takes, with the options it is given there."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from cyclopts import CycloptsError, MissingArgumentError

from api.cli.main import build_app
from tests.documents import PAGES, Command, commands, inline_commands
from tests.integration.docs_scene import LAST, NOT_RUN, reason_not_to_run, to_run

PLACES = {"STEP": "400", "N": "400", "WORKER": "w1"}
"""What stands for a number in the documents."""


def complaint(command: Command) -> str:
    """What the command line says to it; empty where it would do it."""
    words = [PLACES.get(word, word) for word in command.words[1:]]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            build_app(words[0]).parse_args(words, exit_on_error=False, print_error=False)
    except MissingArgumentError as error:
        return "" if command.inline else str(error)
    except CycloptsError as error:
        return str(error)
    return ""


def of_tumbler(found: list[Command]) -> list[Command]:
    return [command for command in found if command.text.startswith("tumbler ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_command_line_takes_every_command_of_a_page(page: Path) -> None:
    found = of_tumbler([*commands(page), *inline_commands(page)])
    assert [f"{command}: {said}" for command in found if (said := complaint(command))] == []


def test_there_are_commands_to_be_found() -> None:
    found = [command for page in PAGES for command in commands(page)]
    assert len(of_tumbler(found)) > 40
    assert {command.words[0] for command in found} >= {"tumbler", "make", "curl", "git", "ray"}


def test_every_command_is_run_by_a_test_or_says_why_not() -> None:
    found = [command for page in PAGES for command in commands(page)]
    skipped = {command.text for command in found if reason_not_to_run(command)}
    assert {command.text for command in to_run()} == {command.text for command in found} - skipped
    assert all(any(re.match(pattern, text) for text in skipped) for pattern in NOT_RUN)
    assert [text for text in LAST if not any(one.text.startswith(text) for one in to_run())] == []


@pytest.mark.parametrize(
    "text",
    [
        "tumbler scale RUN",
        "tumbler ls --no-such-option",
        "tumbler rn -f run.yaml",
        "tumbler get RUN --step 4",
    ],
)
def test_a_command_that_does_not_exist_would_be_seen(text: str) -> None:
    assert complaint(Command(PAGES[0], 1, text))


def test_an_option_that_does_not_exist_is_seen_in_a_sentence_too() -> None:
    assert complaint(Command(PAGES[0], 1, "tumbler submit", inline=True)) == ""
    assert complaint(Command(PAGES[0], 1, "tumbler submit --no-such-option", inline=True))


def test_a_command_is_found_with_its_continuation_and_without_its_comment(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text `tumbler get RUN [STEP]` and `tumbler workers RUN drain\\|kill w2`.\n\n"
        "    tumbler ls      # all of them\n    curl -s x \\\n         -d '{}'\n\n"
        "    why does it wait?   no\n\n```bash\ntumbler down\n```\n\n```yaml\ntumbler: 1\n```\n"
    )
    assert [(one.line, one.text) for one in commands(page)] == [
        (3, "tumbler ls"),
        (4, "curl -s x -d '{}'"),
        (10, "tumbler down"),
    ]
    assert [one.text for one in inline_commands(page)] == [
        "tumbler get RUN STEP",
        "tumbler workers RUN drain w2",
    ]
