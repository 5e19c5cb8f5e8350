"""The project's documents as test material: their code blocks, links and tables. Read by test_docs.

A fenced block's tag decides what is done with it:

    python        runs, in a tailnet of its own with neighbours (see below)
    sh, console   each command is checked; in console, commands begin with "$ "
    toml          must parse
    text          is for reading: output, layouts, pictures

`<!-- login -->` above a python block: no auth key is at hand, and somebody visits the login URL that it prints.
`<!-- visit: URL -> TEXT -->` above a python block that serves: a second node fetches the URL and finds the text.
A text block right below a python block is what that prints; `...` stands for anything.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TAGS = frozenset({"python", "sh", "console", "toml", "text"})

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VISIT = re.compile(r"<!-- visit: (\S+) -> (.+?) -->\s*\Z")
_LOGIN = re.compile(r"<!-- login -->\s*\Z")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@attrs.frozen
class Block:
    page: Path
    line: int
    tag: str
    text: str
    visits: tuple[str, str] | None = None
    prints: str | None = None
    logs_in: bool = False

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    result = []
    for match, after in zip_longest(found, found[1:]):
        visit = _VISIT.search(text[: match.start()])
        output = None
        if after is not None and after[1] == "text" and not text[match.end() : after.start()].strip():
            output = after[2]
        result.append(
            Block(
                page,
                text.count("\n", 0, match.start()) + 2,
                match[1],
                match[2],
                (visit[1], visit[2]) if visit else None,
                output if match[1] == "python" else None,
                bool(_LOGIN.search(text[: match.start()])),
            )
        )
    return result


ALL = [block for page in PAGES for block in blocks(page)]


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What `page.md#…` can point at, as renderers make it of headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def names(page: Path) -> list[str]:
    """Everything in backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command, environment assignments first; comments, output and continuations are taken off."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.tag == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        words = shlex.split(line, comments=True)
        if words:
            yield words


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = page.read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    lines = []
    for line in text.splitlines():
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip("|").split("|")])
        elif lines or line.startswith("#"):
            break
    return lines[2:]


# --- the map of the house ---------------------------------------------------------------------------------------


def summary(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def rooms() -> str:
    """The rooms section of docs/architecture.md: one line for each source file, below a heading for each folder."""
    folders = sorted({path.parent for top in ("netstack", "tsnet") for path in ROOT.glob(f"{top}/**/*.py")})
    lines = []
    for folder in folders:
        lines += [f"### `{folder.relative_to(ROOT)}/`", "", summary(folder / "__init__.py"), ""]
        files = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith("__")]
        lines += [f"- `{path.name}`: {summary(path)}" for path in files]
        lines += [""] if files else []
    return "\n".join(lines)


if __name__ == "__main__":
    page = ROOT / "docs" / "architecture.md"
    head = page.read_text(encoding="utf-8").partition("## Rooms\n")[0]
    page.write_text(f"{head}## Rooms\n\n{rooms()}", encoding="utf-8")
