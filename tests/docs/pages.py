"""The pages of the documentation, taken apart: code blocks with their marks, headings, links, tables.

A mark is the word behind the language of a fence. It renders like none, and says what the suite does with the block:

    sh run          typed into a terminal, in order            sh serve       typed, and left running; a new terminal follows
    sh refused      typed, and has to fail                     python run     run as a program of its own
    python file=X   saved as X where the terminal stands       anything else  read by one test, or by people only
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """One fenced block."""

    language: str
    mark: str
    text: str


def all_pages() -> list[Path]:
    return [README, *sorted(DOCS.rglob("*.md"))]


def page(name: str) -> str:
    """Return the text of a page of the documentation."""
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(path: Path) -> list[Block]:
    found = _FENCE.finditer(path.read_text(encoding="utf-8"))
    return [Block(*_info(match["info"]), textwrap.dedent(match["text"])) for match in found]


def marked(path: Path, language: str, mark: str) -> list[str]:
    """Return the texts of the blocks of a page with this language and mark."""
    return [block.text for block in blocks(path) if (block.language, block.mark) == (language, mark)]


def links(path: Path) -> list[str]:
    """Return what a page links to inside this repository."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    return [link for link in _LINK.findall(text) if "://" not in link]


def anchors(path: Path) -> set[str]:
    """Return the names under which a page's headings can be linked to."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(text)}


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one."""
    match = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"no heading {heading!r}"
    return match[1]


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of every row of every table."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def codes(text: str, *, column: int = 0) -> set[str]:
    """Return what stands as code in one column of the tables."""
    return {code for cells in rows(text) if len(cells) > column for code in re.findall(r"`([^`]+)`", cells[column])}


def _info(info: str) -> tuple[str, str]:
    language, _, mark = info.strip().partition(" ")
    return language, mark
