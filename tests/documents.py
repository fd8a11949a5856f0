"""The pages of the documents, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
_PROGRAMS: Final = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:tumbler|make|git|curl|ray|python|pip|kubectl|prometheus|tensorboard|source|cp) "
)
_FENCE: Final = re.compile(r"^ *```(\w*)")
_INLINE: Final = re.compile(r"(?<!`)`(tumbler [^`]+)`(?!`)")
_FILE: Final = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
_COMMENT: Final = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Command:
    """One command as a page shows it, without its comment."""

    page: Path
    line: int
    """Counted from 1."""
    text: str
    inline: bool = False
    """It stands in a sentence or a table, where arguments may be left out."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.text}"

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def commands(page: Path) -> list[Command]:
    """What a reader would type, in order: ```bash blocks, and indented ones that begin with a program."""
    found: list[Command] = []
    for first, block in _blocks(page.read_text(encoding="utf-8").splitlines()):
        found += _in_block(page, first, block)
    return found


def files_of(page: Path) -> list[tuple[str, str]]:
    """(name, content) of the files that a page tells its reader to write."""
    return [(name, text) for name, text in _FILE.findall(page.read_text(encoding="utf-8"))]


def inline_commands(page: Path) -> list[Command]:
    """Those in backticks; of alternatives `a|b` the first, brackets of a synopsis taken away."""
    found = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        for text in _INLINE.findall(line):
            if "..." in text:
                continue
            plain = re.sub(r"\\?\|[\w-]+", "", text.replace("[", "").replace("]", ""))
            found.append(Command(page, number, plain, inline=True))
    return found


def _blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines without indent) of each block that may hold commands."""
    number = 0
    while number < len(lines):
        begin = number
        fence = _FENCE.match(lines[number])
        if fence:
            number += 1
            while not lines[number].strip().startswith("```"):
                number += 1
            if fence[1] == "bash":
                yield begin + 2, [line.strip() for line in lines[begin + 1 : number]]
        elif lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            block = [line[4:] for line in lines[begin:number]]
            if _PROGRAMS.match(block[0]):
                yield begin + 1, block
            continue
        number += 1


def _in_block(page: Path, first: int, block: list[str]) -> Iterator[Command]:
    text, begin = "", first
    for number, line in enumerate(block, first):
        begin = begin if text else number
        text += line.strip()
        if text.endswith("\\"):
            text = f"{text[:-1].rstrip()} "
            continue
        text = _COMMENT.sub("", text)
        if text and not text.startswith("#"):
            yield Command(page, begin, text)
        text = ""
