"""For mkdocs: what lies outside docs/ and is linked from a page becomes a part of the site.

The pages link files as they lie in the repository, so that they can be read there too.
"""

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
_LINK: Final = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
_PLACES: Final = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md"}
"""Where a file of the root lies in the site."""
_PARTS: Final = ("LICENSE", "examples", "deploy")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists every decision in the navigation, so that a new one needs no line there."""
    decisions = [
        "adr/README.md",
        *(f"adr/{path.name}" for path in sorted((ROOT / "docs/adr").glob("[0-9]*.md"))),
    ]
    for section in config.nav or ():
        for page in next(iter(section.values())):
            if isinstance(page, dict) and page.get("Decisions"):
                page["Decisions"] = decisions
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root, examples and manifests."""
    for name, place in _PLACES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=text))
    for part in _PARTS:
        for path in (ROOT / part, *sorted((ROOT / part).rglob("*"))):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                files.append(File.generated(config, name, content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files into links between pages."""
    here = page.file.src_uri
    folder = ROOT if here in _PLACES.values() else (ROOT / "docs" / here).parent

    def moved(link: re.Match[str]) -> str:
        path = (folder / link[1]).resolve()
        if not path.is_relative_to(ROOT):
            return link[1]
        name = path.relative_to(ROOT).as_posix()
        place = name.removeprefix("docs/") if name.startswith("docs/") else _PLACES.get(name, name)
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return _LINK.sub(moved, markdown)
