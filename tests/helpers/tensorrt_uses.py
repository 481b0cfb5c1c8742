"""What this project asks of TensorRT's Python bindings, collected from its code, and whether given bindings have it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mgts_trt.plans.builder.proof import _OPS
from mgts_trt.plans.builder.semantics import RULES
from tests.helpers.paths import ROOT

MODULES = ("trt", "module", "self.module", "flavour.module", "self.flavour.module")
"""Expressions that are the package itself."""

_BUILDING = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "error": "ParserError",
    "layer": "ILayer",
    "tensor": "ITensor",
    "factor": "ITensor",
    "names[name]": "ITensor",
}
_PLANS, _BUILDER = "mgts_trt/plans", "mgts_trt/plans/builder"
OBJECTS: dict[tuple[str, str], dict[str, str]] = {
    (f"{_PLANS}/flavour.py", ""): {
        **_BUILDING,
        "runtime": "Runtime",
        "engine": "ICudaEngine",
        "inspector": "EngineInspector",
    },
    (f"{_PLANS}/listeners.py", ""): {},
    (f"{_PLANS}/caches.py", "RuntimeCache"): {"config": "IRuntimeConfig", "self._cache": "IRuntimeCache"},
    (f"{_PLANS}/caches.py", "TimingCache"): {
        "config": "IBuilderConfig",
        "self._cache": "ITimingCache",
        "cache": "ITimingCache",
    },
    (f"{_PLANS}/plugin_library.py", "load_library"): {"registry": "IPluginRegistry"},
    (f"{_BUILDER}/build_engines.py", "_add_profile"): _BUILDING,
    (f"{_BUILDER}/parsing.py", "parse"): _BUILDING,
    (f"{_BUILDER}/parsing.py", "check_tensors"): _BUILDING,
    (f"{_BUILDER}/parsing.py", "examine"): _BUILDING,
    (f"{_BUILDER}/parsing.py", "origin"): _BUILDING,
    (f"{_BUILDER}/parsing.py", "_parser_error"): _BUILDING,
    (f"{_BUILDER}/proof.py", ""): {**_BUILDING, "layer": "ILayer"},
    (f"{_BUILDER}/semantics.py", ""): _BUILDING,
    (f"{_BUILDER}/serialize.py", ""): _BUILDING,
    ("mgts_trt/runtime/session/engine.py", "Engine"): {
        "self._runtime": "Runtime",
        "self._engine": "ICudaEngine",
        "engine": "ICudaEngine",
        "config": "IRuntimeConfig",
    },
    ("mgts_trt/runtime/session/engine.py", "EngineContext"): {"self._live()": "IExecutionContext"},
}
"""File and the class or function in it ("" means all of it) → expression → TensorRT's class of what it stands for."""

SPECIAL = ("IConvolutionLayer", "IDeconvolutionLayer", "IMatrixMultiplyLayer", "IEinsumLayer")
"""Classes that a layer may be given besides `ILayer`."""


class Use(NamedTuple):
    """One attribute of a TensorRT object, or a call of it."""

    kind: str
    """TensorRT's class; empty: the package."""
    name: str
    """The attribute; of the package, dotted."""
    positional: int
    """Arguments of a call; -1: it is not called."""
    keywords: tuple[str, ...]
    assigned: bool
    where: str


def uses() -> list[Use]:
    """All of them."""
    found: list[Use] = []
    for (file, scope), objects in OBJECTS.items():
        tree = ast.parse((ROOT / file).read_text())
        nodes = [tree] if not scope else [node for node in tree.body if getattr(node, "name", "") == scope]
        assert nodes, f"{file} has no {scope}"
        found += [use for node in nodes for use in _uses(node, objects, file)]
    return found


RTX_ALONE = {
    # Behind `Flavour.has_runtime_cache`.
    "create_runtime_config",
    "set_execution_context_allocation_strategy",
    "dynamic_shapes_kernel_specialization_strategy",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
    "create_runtime_cache",
    "set_runtime_cache",
    # Behind the flavour's name.
    "ComputeCapability",
    "ComputeCapability.CURRENT",
    "num_compute_capabilities",
    "set_compute_capability",
    # Behind `hasattr`.
    "BuilderFlag.REQUIRE_USER_ALLOCATION",
}
"""What is asked of TensorRT-RTX only, and behind what."""


def all_uses() -> list[Use]:
    """What the code names, and what its tables of layers name."""
    found = uses()
    for op, rule in RULES.items():
        names, _ = settings(rule.wanted)
        found += [Use(rule.kind, name, -1, (), rule.mends, f"the rule of {op}") for name in sorted(names)]
    found += [Use("", name, -1, (), False, "proof._OPS") for _, name in _OPS.values()]
    types = {rule.layer for rule in RULES.values()} | set(_OPS)
    return [*found, *(Use("", f"LayerType.{name}", -1, (), False, "a table of layers") for name in sorted(types))]


def is_for(use: Use, flavour: str) -> bool:
    """Whether the code makes this use of a flavour."""
    rtx_alone = use.name in RTX_ALONE or use.kind in ("IRuntimeCache", "IRuntimeConfig")
    return flavour == "tensorrt_rtx" or not rtx_alone


def settings(wanted: Any, source: Path = ROOT / "mgts_trt/plans/builder/semantics.py") -> tuple[set[str], set[str]]:
    """Names of the settings that a rule of `semantics` asks for, and of the members it gives them."""
    function = next(node for node in ast.parse(source.read_text()).body if getattr(node, "name", "") == wanted.__name__)
    names: set[str] = set()
    for node in ast.walk(function):
        value = getattr(node, "value", None)
        if isinstance(node, ast.Return | ast.AnnAssign) and value is not None:
            value = value.body if isinstance(value, ast.IfExp) else value
            names |= {key.value for key in getattr(value, "keys", ()) if isinstance(key, ast.Constant)}
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "wanted":
            names |= {node.slice.value} if isinstance(node.slice, ast.Constant) else set()
        if isinstance(node, ast.For):  # over pairs of a setting and an attribute
            pairs = (each for each in ast.walk(node.iter) if isinstance(each, ast.Tuple))
            names |= {pair.elts[0].value for pair in pairs if isinstance(pair.elts[0], ast.Constant)}
    constants = (node.value for node in ast.walk(function) if isinstance(node, ast.Constant))
    texts = {value for value in constants if isinstance(value, str)}
    return names, {text for text in texts if re.fullmatch(r"[A-Z_]{3,}", text)} - {"NOTSET", "VALID"}


def _uses(scope: ast.AST, objects: dict[str, str], file: str) -> Iterator[Use]:
    calls = {id(node.func): node for node in ast.walk(scope) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(scope) if isinstance(node, ast.Attribute)}
    handed = {
        id(call.args[1]): len(call.args) - 2
        for call in calls.values()
        if ast.unparse(call.func).endswith(".call") and len(call.args) > 1
    }
    for node in ast.walk(scope):
        if not isinstance(node, ast.Attribute):
            continue
        where, owner = f"{file}:{node.lineno}", ast.unparse(node.value)
        call = calls.get(id(node))
        positional = handed.get(id(node), -1) if call is None else len(call.args)
        keywords = tuple(word.arg or "" for word in call.keywords) if call else ()
        assigned = isinstance(node.ctx, ast.Store)
        if owner in objects:
            if not node.attr.startswith("__") and node.attr != "model_dump":  # of our own settings, of that name, too
                yield Use(objects[owner], node.attr, positional, keywords, assigned, where)
            continue
        root = next((each for each in MODULES if f"{owner}.".startswith(f"{each}.")), None)
        if root and id(node) not in inner and owner.removeprefix(root) + node.attr != "__name__":
            name = f"{owner}.{node.attr}".removeprefix(f"{root}.")
            if not name.endswith("__init__") and "__version__" not in name:
                yield Use("", name, positional, keywords, assigned, where)


def failures(module: Any, wanted: list[Use]) -> list[str]:
    """What of `wanted` these bindings do not have, or have with other parameters; a sentence each."""
    found = []
    for use in wanted:
        if use.kind:
            owners = [use.kind, *(SPECIAL if use.kind == "ILayer" else ())]
            things = [getattr(getattr(module, owner, None), use.name, None) for owner in owners]
            thing = next((each for each in things if each is not None), None)
        else:
            thing = module
            for part in use.name.split("."):
                thing = getattr(thing, part, None)
        label = f"{use.where}: {use.kind}.{use.name}".replace(": .", ": ")
        if thing is None:
            found.append(f"{label} is not there")
        elif use.assigned and isinstance(thing, property) and thing.fset is None:
            found.append(f"{label} cannot be set")
        elif use.positional >= 0 and not isinstance(thing, property):
            signatures = _signatures(thing.__init__ if isinstance(thing, type) else thing)
            if signatures and not any(_takes(names, required, use) for names, required in signatures):
                found.append(f"{label} takes no {use.positional} arguments and {use.keywords}: {signatures}")
    return found


def _takes(names: list[str], required: int, use: Use) -> bool:
    given = use.positional + len(use.keywords)
    if any(name.startswith("*") for name in names):
        return True
    return required <= given and use.positional <= len(names) and set(use.keywords) <= set(names[use.positional :])


def _signatures(function: Any) -> list[tuple[list[str], int]]:
    """Names of the parameters after `self`, and how many of them must be given, for each overload in the docstring."""
    found = []
    for line in (function.__doc__ or "").splitlines():
        if match := re.match(r"(?:\d+\. )?\w+\((.*)\) -> ", line):
            parts = _split(match[1])[1:]
            names = [part.partition(":")[0].strip() for part in parts]
            found.append((names, sum("=" not in part for part in parts)))
    return found


def _split(parameters: str) -> list[str]:
    """At the commas outside of brackets."""
    parts, depth = [""], 0
    for letter in parameters:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
