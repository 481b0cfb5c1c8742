"""The documents of a checkout, read as a reader would: links, headings, paths, blocks of code, commands."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

WRITTEN = ("build", "dist", "out", "runs")
"""Folders that commands write into a checkout."""

_PATH = re.compile(r"(?<![\w/.-])(?:mgts_trt|training|export|engines|tests|benchmarks|docs)/[\w./-]*(?![\w*…{])")
_PLACEHOLDER = re.compile(r"/(?:P|NAME|ROOM|DIR)\b|NAME")
_IN_THE_WHEEL = "mgts_trt/engines"
"""Where the wheel has what lies in `engines`."""

_JOINS = {"&&", "||", ";", "|", "&"}


@dataclass(frozen=True)
class Code:
    """A piece of code in a document.

    Attributes:
        document: Where it stands.
        line: Where there, from 1.
        language: What its fence says; `inline` for code in a sentence, empty for an indented block.
        text: The code.
    """

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


class Document:
    """A Markdown file.

    Args:
        root: The checkout.
        path: Of the file, below `root`.
    """

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path = root, path
        self._tokens = MarkdownIt("commonmark").enable("table").parse((root / path).read_text(encoding="utf-8"))

    def anchors(self) -> set[str]:
        """What a link may name behind #: headings in lower case, without punctuation, numbered from the second on."""
        seen: Counter[str] = Counter()
        found = set()
        for opening, inline in zip(self._tokens, self._tokens[1:], strict=False):
            if opening.type == "heading_open":
                text = "".join(part.content for part in inline.children or [])
                slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
                found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
                seen[slug] += 1
        return found

    def links(self) -> Iterator[tuple[int, str]]:
        """Line and target of every link and picture."""
        for line, token in self._inline():
            target = token.attrGet("href" if token.type == "link_open" else "src")
            if token.type in ("link_open", "image") and isinstance(target, str):
                yield line, target

    def made(self) -> set[str]:
        """Paths of the files that the document has a reader write: `title=` in the fences of their blocks."""
        titles = (re.search(r"title=(\S+)", token.info) for token in self._tokens if token.type == "fence")
        return {title[1] for title in titles if title}

    def code(self) -> Iterator[Code]:
        """Every block, and every piece in a sentence."""
        for token in self._tokens:
            if token.type in ("fence", "code_block"):
                line = (token.map or [0])[0] + (2 if token.type == "fence" else 1)
                yield Code(self.path, line, token.info.partition("title=")[0].strip(), token.content)
        for line, token in self._inline():
            if token.type == "code_inline":
                yield Code(self.path, line, "inline", token.content)

    def _inline(self) -> Iterator[tuple[int, Token]]:
        for token in self._tokens:
            for child in token.children or []:
                yield (token.map or [0])[0] + 1, child


def documents(root: Path) -> list[Document]:
    """All Markdown files of a checkout, but for those in hidden folders and in folders that commands write."""
    paths = (path.relative_to(root) for path in sorted(root.rglob("*.md")))
    return [
        Document(root, path)
        for path in paths
        if path.parts[0] not in WRITTEN and not any(part.startswith(".") for part in path.parts)
    ]


def broken_links(root: Path) -> Iterator[str]:
    """Links to files and headings that are not there; links into the web are not followed."""
    read = {document.path: document for document in documents(root)}
    for path, document in read.items():
        for line, target in document.links():
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (root / path.parent / unquote(name)).resolve() if name else (root / path).resolve()
            if not there.exists():
                yield f"{path}:{line} links {target}, which is not there"
            elif anchor and anchor not in read[there.relative_to(root.resolve())].anchors():
                yield f"{path}:{line} links {target}, and there is no such heading"


def broken_paths(root: Path) -> Iterator[str]:
    """Paths of the checkout that documents name in code, and documents that code names, where nothing lies."""
    for document in documents(root):
        given = {_IN_THE_WHEEL, *document.made()}
        for code in document.code():
            for path in _PATH.findall(code.text):
                if _PLACEHOLDER.search(path) or path in given:
                    continue
                if not (root / path.rstrip(".")).exists():
                    yield f"{code} names {path}, which is not there"
    for pattern in ("**/*.py", "**/*.toml", "**/*.cu", "**/*.cuh", "**/*.sh", "Makefile"):
        for file in sorted(root.glob(pattern)):
            path = file.relative_to(root)
            if path.parts[0] in ("tests", *WRITTEN) or path.parts[0].startswith("."):
                continue
            for name in re.findall(r"(?<![\w/])(?:docs|benchmarks|bundle|engines)/[\w./-]*\.md", file.read_text()):
                if not (root / name).exists():
                    yield f"{path} names {name}, which is not there"


def commands(code: Code) -> Iterator[list[str]]:
    """The commands of a block for the shell, each as its words; redirections and comments are left out.

    Raises:
        ValueError: A quotation is not closed.
    """
    for line in code.text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        redirected = False
        for word in words:
            if word in _JOINS:
                yield command
                command = []
            elif set(word) <= set("<>"):
                redirected = True
            elif redirected:
                redirected = False
            else:
                command.append(word)
        if command:
            yield command


def mentioned(code: Code) -> Iterator[list[str]]:
    """The commands that a piece of code in a sentence may stand for: a|b is either, … whatever follows."""
    words = [word.strip("[]…") for word in code.text.replace("\\|", "|").split()]
    words = [word for word in words if word]
    alternatives = [i for i, word in enumerate(words) if "|" in word and not word.isupper()]
    if not alternatives:
        yield words
        return
    first = alternatives[0]
    for word in words[first].split("|"):
        yield [*words[:first], word, *words[first + 1 :]]
