"""Who imports whom, read from the code without running it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = ("mgts_trt", "training", "export", "benchmarks")


@dataclass(frozen=True)
class Import:
    """One import of one file, wherever it stands: at the top, in a function, or for the type checker alone."""

    name: str
    """What is imported, dotted: a module of the tree as itself, else as it is written."""
    line: int


@dataclass(frozen=True)
class Source:
    """One file of Python."""

    root: Path
    path: Path
    """Relative to `root`."""

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse((self.root / self.path).read_text(encoding="utf-8"))

    @property
    def module(self) -> str:
        """Its dotted name; a package's is that of its `__init__.py`."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def place(self) -> str:
        """Its path without suffix, as `mgts_trt/bundle/manifest`."""
        return self.path.with_suffix("").as_posix()


class Tree:
    """The packages of a checkout.

    Args:
        root: Of the checkout.
        packages: Folders in it.
    """

    def __init__(self, root: Path, packages: tuple[str, ...] = PACKAGES) -> None:
        files = sorted(path for package in packages for path in (root / package).rglob("*.py"))
        self.sources = {source.module: source for source in (Source(root, path.relative_to(root)) for path in files)}
        self.imports: Mapping[str, tuple[Import, ...]] = {
            module: tuple(dict.fromkeys(self._resolve(source))) for module, source in self.sources.items()
        }

    def inside(self, module: str) -> set[str]:
        """The tree's own modules that a module imports."""
        return {each.name for each in self.imports[module]} & self.sources.keys() - {module}

    def reached(self, module: str) -> dict[str, tuple[str, ...]]:
        """What a module imports, at whatever remove: name → the modules on the way, the first being its own."""
        paths: dict[str, tuple[str, ...]] = {}
        waiting = [(module, (module,))]
        while waiting:
            current, way = waiting.pop()
            for each in self.imports[current]:
                if each.name not in paths and each.name != module:
                    paths[each.name] = (*way, each.name)
                    if each.name in self.sources:
                        waiting.append((each.name, paths[each.name]))
        return paths

    def _resolve(self, source: Source) -> Iterator[Import]:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    yield from (Import(name, node.lineno) for name in self._names(node.module, alias.name))

    def _names(self, module: str, name: str) -> Iterator[str]:
        """What `from module import name` imports: a submodule, or the module; of a face also the name's own file."""
        if f"{module}.{name}" in self.sources:
            yield f"{module}.{name}"
            return
        yield module
        face = self.sources.get(module)
        if face is None or face.path.name != "__init__.py":
            return
        for node in ast.walk(face.tree):
            if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
                yield node.module
