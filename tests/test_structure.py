"""The architecture, read from the code: which room may import which, and that the tests stand where the code does.

Each rule is a function of a tree that names the breaches; below, each is also shown to catch one.
"""

import ast
import graphlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.imports import Source, Tree
from tests.helpers.paths import ROOT

ORDER = {
    "mgts_trt": """
        version urls errors choices counts _typing | machine | pictures | stages | bundle | plans | plans/builder
        | runtime/cuda | runtime/operators | runtime/session
        | runtime/protocol runtime/people runtime/modes runtime/stream runtime/joint_people | runtime/gpu
        | runtime/clock runtime/host_pipeline runtime/host_joint runtime/pipeline | plugins | evaluation
        | precisions | importing importing/detectors
        | tracking | access | gallery gallery/disk | gallery/indexing | annotating | watching | open_inference | service
        | triton | deepstream | cli
        | __init__ __main__
    """,
    "training": """
        preset schedule | data | data/datasets | models | losses | tasks | checkpoint log | average recover
        | loop | options | evaluation | evaluation/analyses | __main__
    """,
    "export": """
        errors | onnx_file | graphs | references | exporter | __main__
    """,
    "benchmarks": """
        environment inputs loopback_cameras doors erasure
        | gpu/report gpu/published gpu/timing gpu/job gpu/tables gpu/plots
        | gpu/sides | gpu/parts | gpu/__main__
        | asking_quality awkward_inputs bucket cameras capacity conversion_kills cpu_batches cpu_operators cpu_pytorch
        erasure_kills gallery_growth gallery_quality gallery_search imported_detector imported_reid indexing
        kernel_figures manifest_flips partitions person_search_metric picture_encryption query_floor ray_scaling
        service start_up tracking training_memory
    """,
}
"""Of each package its rooms and files, lowest first: a file imports from its own place and those left of it."""

MAY_USE = {
    "mgts_trt": {"mgts_trt"},
    "training": {"training", "mgts_trt"},
    "export": {"export", "training", "mgts_trt"},
    "benchmarks": {"benchmarks", "training", "mgts_trt"},
}
"""Which of the packages each may import; `benchmarks` measures PyTorch with `training`'s networks."""

FACES = {"mgts_trt", "mgts_trt/stages", "mgts_trt/gallery", "training/models"}
"""Packages whose `__init__.py` offers names; all others hold a docstring alone."""

SHARED_NAMES = {"app", "bench", "build", "convert", "index", "parity", "sensitivity", "tune"} | {
    "nms", "align_rois", "ps_assemble", "se_head",
}  # fmt: skip
"""Names that a command has in `cli` and what it calls has in its own room; the two apps, of commands and routes; and
the operators, of which `stages` has the references and `runtime/operators` the kernels."""

SPANS = {
    "tests/deploy": set(),
    "tests/docs": set(),
    "tests/engines": {"cpp_example", "person_parser"},
    "tests/helpers": set(),
    "tests/mgts_trt/service": {
        "api",
        "roles",
        "schema",
        "bad_values",
        "load",
        "page",
        "page_forgetting",
        "page_gallery",
        "page_rates",
        "page_sightings",
    },
    "tests/mgts_trt": {"telemetry"},
    "tests/mgts_trt/bundle": {"altered"},
    "tests/mgts_trt/plugins": {"plugins"},
    "tests/mgts_trt/triton": {"real_server"},
    "tests/mgts_trt/runtime": {"batch", "lowerings_on_gpu", "pipeline_on_gpu"},
    "tests/mgts_trt/runtime/gpu": {"guards", "in_flight", "warm_up"},
    "tests/mgts_trt/runtime/session": {"lowered_plans"},
    "tests/export/graphs": {"batches", "joint_graph", "regions"},
    "tests/training": {"amp"},
    "tests/training/data/datasets": {"datasets"},
    "tests/training/models": {"models"},
    "tests/benchmarks/gpu": {"rendering"},
    "tests/benchmarks/gpu/parts": {"verdicts"},
}
"""Tests of more than one file, by folder; in `deploy`, `docs` and `helpers` no test mirrors a file of a package."""

LONGEST = 400

Rule = Callable[[Tree], Iterator[str]]


def place_of(source: Source) -> int | None:
    """The number of a file's place in `ORDER`, the longest path deciding; None if it is on no line."""
    package, _, rest = source.place.partition("/")
    if rest.endswith("/__init__"):
        rest = rest.removesuffix("/__init__")
    places = {name: number for number, names in enumerate(ORDER[package].split("|")) for name in names.split()}
    parts = rest.split("/")
    return next((places[p] for n in range(len(parts), 0, -1) if (p := "/".join(parts[:n])) in places), None)


def no_circles(tree: Tree) -> Iterator[str]:
    """No file imports itself, at whatever remove."""
    try:
        graphlib.TopologicalSorter({module: tree.inside(module) for module in tree.sources}).prepare()
    except graphlib.CycleError as error:
        yield " ← ".join(error.args[1])


def the_order_of_rooms(tree: Tree) -> Iterator[str]:
    """A file imports from its own place and those below; packages use those they may."""
    for module, source in tree.sources.items():
        package = module.partition(".")[0]
        mine = place_of(source)
        if mine is None and source.path.name != "__init__.py":
            yield f"{source.path} is on no line of ORDER"
        for name in tree.inside(module):
            other = name.partition(".")[0]
            if other not in MAY_USE[package]:
                yield f"{module} imports {name}"
            theirs = place_of(tree.sources[name])
            if other == package and mine is not None and theirs is not None and theirs > mine:
                yield f"{module} imports {name}, which stands above it"


def the_console_is_in_cli(tree: Tree) -> Iterator[str]:
    """In the product only `cli` prints; elsewhere only modules with commands, or `options`, use what it has."""
    for module, imports in tree.imports.items():
        names = {each.name.partition(".")[0] for each in imports}
        if module.startswith("mgts_trt."):
            if not module.startswith("mgts_trt.cli") and (names & {"rich", "typer"}):
                yield f"{module} imports {', '.join(sorted(names & {'rich', 'typer'}))}"
        elif (
            not names & {"typer"}
            and not module.endswith(".options")
            and any(each.name.startswith("mgts_trt.cli") for each in imports)
        ):
            yield f"{module} imports mgts_trt.cli and has no command"


def the_runtime_never_builds(tree: Tree) -> Iterator[str]:
    """Nothing that runs plans reaches what builds them."""
    rooms = ("runtime", "evaluation", "gallery", "service")
    for module in tree.sources:
        if module.startswith(tuple(f"mgts_trt.{room}" for room in rooms)):
            for name, way in tree.reached(module).items():
                if name.startswith("mgts_trt.plans.builder"):
                    yield " → ".join(way)


def no_torch_in_the_product(tree: Tree) -> Iterator[str]:
    """The product needs no PyTorch."""
    for module in tree.sources:
        if module.startswith("mgts_trt"):
            for name, way in tree.reached(module).items():
                if name.partition(".")[0] in ("torch", "torchvision", "training"):
                    yield " → ".join(way)


def one_place_loads_tensorrt(tree: Tree) -> Iterator[str]:
    """TensorRT comes through `plans/installed.py`, CUDA through `runtime/cuda`; the rest is handed objects."""
    for module, source in tree.sources.items():
        for each in tree.imports[module]:
            top = each.name.partition(".")[0]
            if top.startswith("tensorrt"):
                yield f"{source.path}:{each.line} imports {each.name}"
            if top == "cuda" and not module.startswith(
                ("mgts_trt.runtime.cuda", "mgts_trt.machine.gpus", "benchmarks")
            ):
                yield f"{source.path}:{each.line} imports {each.name}"
        for node in ast.walk(source.tree):
            if _is_open_import(node) and module not in ("mgts_trt", "mgts_trt.plans.installed"):
                yield f"{source.path}:{node.lineno} imports a module that only a run can name"
            if _is_tensorrt(node) and not module.startswith(("mgts_trt.plans", "mgts_trt.runtime.session.engine")):
                yield f"{source.path}:{node.lineno} uses TensorRT's own module"


def faces_are_few(tree: Tree) -> Iterator[str]:
    """An `__init__.py` says what its folder is, and no more."""
    for source in tree.sources.values():
        if source.path.name != "__init__.py" or source.path.parent.as_posix() in FACES:
            continue
        if len(source.tree.body) != 1 or ast.get_docstring(source.tree) is None:
            yield f"{source.path} holds more, or less, than a docstring"


def files_are_short(tree: Tree) -> Iterator[str]:
    """One idea a file."""
    for source in tree.sources.values():
        count = len((source.root / source.path).read_text(encoding="utf-8").splitlines())
        if count > LONGEST:
            yield f"{source.path} has {count} lines"


def names_are_told_apart(tree: Tree) -> Iterator[str]:
    """No two files of the product bear one name, but for a command and what it calls."""
    names = Counter(source.path.stem for module, source in tree.sources.items() if module.startswith("mgts_trt."))
    for name, count in names.items():
        if count > 1 and not name.startswith("__") and name not in SHARED_NAMES:
            yield f"{count} files are named {name}.py"


RULES: list[Rule] = [
    no_circles,
    the_order_of_rooms,
    the_console_is_in_cli,
    the_runtime_never_builds,
    no_torch_in_the_product,
    one_place_loads_tensorrt,
    faces_are_few,
    files_are_short,
    names_are_told_apart,
]


def _is_open_import(node: ast.AST) -> bool:
    """Whether it is `import_module(x)` with an x that is no literal."""
    return (
        isinstance(node, ast.Call)
        and _ends_in(node.func, "import_module")
        and not (node.args and isinstance(node.args[0], ast.Constant))
    )


def _is_tensorrt(node: ast.AST) -> bool:
    """Whether it is `flavour.module`."""
    return isinstance(node, ast.Attribute) and node.attr == "module" and _ends_in(node.value, "flavour")


def _ends_in(node: ast.AST, name: str) -> bool:
    return (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)


def misplaced_tests(root: Path) -> Iterator[str]:
    """`tests/P/D/test_N.py` tests `P/D/N.py`, or more than one file, and is listed."""
    for path in sorted((root / "tests").rglob("test_*.py")):
        folder, name = path.parent.relative_to(root), path.stem.removeprefix("test_")
        if folder == Path("tests") or (folder.as_posix() in SPANS and not SPANS[folder.as_posix()]):
            continue
        code = root / folder.relative_to("tests") / f"{'__main__' if name == 'main' else name}.py"
        if not code.is_file() and name not in SPANS.get(folder.as_posix(), set()):
            yield f"{path.relative_to(root)} tests no {code.relative_to(root)}"


def imported_tests(root: Path) -> Iterator[str]:
    """What tests share lies in `tests/helpers`."""
    for module, imports in Tree(root, ("tests",)).imports.items():
        for each in imports:
            last = each.name.rpartition(".")[2]
            if each.name.startswith("tests.") and (last.startswith("test_") or last == "conftest"):
                yield f"{module} imports {each.name}"


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(ROOT)


@pytest.mark.parametrize("rule", RULES)
def test_the_code_keeps(rule: Rule, tree: Tree) -> None:
    assert list(rule(tree)) == []


def test_the_tests_mirror_the_code() -> None:
    assert list(misplaced_tests(ROOT)) == []
    assert list(imported_tests(ROOT)) == []


def plant(root: Path, text: str) -> Tree:
    """A tree of small files, one a line: its path, and after a colon what it holds, ¶ for a new line."""
    for line in text.strip().splitlines():
        name, _, content = line.strip().partition(": ")
        path = root / f"{name.rstrip(':')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("¶", "\n"))
    return Tree(root)


BREACHES: list[tuple[Rule, str, str]] = [
    (
        no_circles,
        """
        mgts_trt/bundle/a: import mgts_trt.bundle.b
        mgts_trt/bundle/b: import mgts_trt.bundle.a
        """,
        "mgts_trt.bundle.a",
    ),
    (
        no_circles,
        """
        mgts_trt/bundle/a: from mgts_trt.bundle import b
        mgts_trt/bundle/b: def f(): from mgts_trt.bundle.a import x
        """,
        "mgts_trt.bundle.b",
    ),
    (
        no_circles,
        """
        mgts_trt/gallery/__init__: from mgts_trt.gallery.store import Gallery
        mgts_trt/gallery/store: from mgts_trt.gallery.rank import x
        mgts_trt/gallery/rank: from mgts_trt.gallery import Gallery
        """,
        "mgts_trt.gallery.rank",
    ),
    (
        the_order_of_rooms,
        """
        mgts_trt/stages/a: from mgts_trt.cli.b import x
        mgts_trt/cli/b:
        """,
        "mgts_trt.stages.a imports mgts_trt.cli.b, which stands above it",
    ),
    (
        the_order_of_rooms,
        """
        mgts_trt/gallery/a: from mgts_trt.gallery.indexing import b
        mgts_trt/gallery/indexing/b:
        """,
        "mgts_trt.gallery.a imports mgts_trt.gallery.indexing.b, which stands above it",
    ),
    (
        the_order_of_rooms,
        """
        mgts_trt/runtime/gpu/a: from mgts_trt.runtime.pipeline import PersonSearch
        mgts_trt/runtime/pipeline:
        """,
        "mgts_trt.runtime.gpu.a imports mgts_trt.runtime.pipeline, which stands above it",
    ),
    (
        the_order_of_rooms,
        """
        mgts_trt/__init__: if TYPE_CHECKING: from mgts_trt.bundle.b import B
        mgts_trt/bundle/b:
        mgts_trt/stages/a: from mgts_trt import B
        """,
        "mgts_trt.stages.a imports mgts_trt.bundle.b, which stands above it",
    ),
    (the_order_of_rooms, "mgts_trt/attic/a:", "mgts_trt/attic/a.py is on no line of ORDER"),
    (
        the_order_of_rooms,
        """
        training/preset: import export.exporter
        export/exporter:
        """,
        "training.preset imports export.exporter",
    ),
    (
        the_console_is_in_cli,
        "mgts_trt/gallery/a: def f(): from rich.table import Table",
        "mgts_trt.gallery.a imports rich",
    ),
    (
        the_console_is_in_cli,
        """
        training/log: from mgts_trt.cli.console import out
        mgts_trt/cli/console:
        """,
        "training.log imports mgts_trt.cli and has no command",
    ),
    (
        the_runtime_never_builds,
        """
        mgts_trt/runtime/a: import mgts_trt.bundle.b
        mgts_trt/bundle/b: import mgts_trt.plans.builder.c
        mgts_trt/plans/builder/c:
        """,
        "mgts_trt.runtime.a → mgts_trt.bundle.b → mgts_trt.plans.builder.c",
    ),
    (
        no_torch_in_the_product,
        """
        mgts_trt/bundle/a: import mgts_trt.bundle.b
        mgts_trt/bundle/b: def f(): import torch.nn
        """,
        "mgts_trt.bundle.a → mgts_trt.bundle.b → torch.nn",
    ),
    (
        no_torch_in_the_product,
        """
        mgts_trt/precisions/a: from training.preset import Preset
        training/preset:
        """,
        "mgts_trt.precisions.a → training.preset",
    ),
    (one_place_loads_tensorrt, "mgts_trt/plans/flavour: import tensorrt_rtx", "flavour.py:1 imports tensorrt_rtx"),
    (one_place_loads_tensorrt, "mgts_trt/runtime/gpu/a: from cuda import core", "a.py:1 imports cuda"),
    (one_place_loads_tensorrt, "mgts_trt/cli/a: importlib.import_module(name)", "that only a run can name"),
    (one_place_loads_tensorrt, "mgts_trt/cli/a: self.flavour.module.Runtime", "uses TensorRT's own module"),
    (faces_are_few, 'mgts_trt/bundle/__init__: """A room."""; x = 1', "bundle/__init__.py holds more, or less"),
    (faces_are_few, "mgts_trt/bundle/__init__:", "bundle/__init__.py holds more, or less"),
    (files_are_short, "mgts_trt/bundle/a: " + "¶".join(["x = 1"] * 401), "401 lines"),
    (
        names_are_told_apart,
        """
        mgts_trt/bundle/head:
        mgts_trt/stages/head:
        """,
        "2 files are named head.py",
    ),
]


@pytest.mark.parametrize(("rule", "files", "told"), BREACHES)
def test_a_breach_is_caught(rule: Rule, files: str, told: str, tmp_path: Path) -> None:
    assert any(told in breach for breach in rule(plant(tmp_path, files)))


def test_every_rule_is_shown_to_catch_one() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


def test_a_misplaced_test_is_caught(tmp_path: Path) -> None:
    plant(
        tmp_path,
        """
        tests/mgts_trt/bundle/test_a:
        mgts_trt/stages/a:
        tests/mgts_trt/bundle/test_b:
        mgts_trt/bundle/b:
        tests/export/test_main:
        export/__main__:
        """,
    )
    assert list(misplaced_tests(tmp_path)) == ["tests/mgts_trt/bundle/test_a.py tests no mgts_trt/bundle/a.py"]


def test_a_test_that_imports_a_test_is_caught(tmp_path: Path) -> None:
    plant(
        tmp_path,
        """
        tests/test_a: from tests.test_b import x
        tests/test_b: from tests.conftest import ROOT
        tests/conftest:
        """,
    )
    told = ["tests.test_a imports tests.test_b", "tests.test_b imports tests.conftest"]
    assert list(imported_tests(tmp_path)) == told
