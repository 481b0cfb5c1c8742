"""A TensorRT plan on disk, and the identity that says where it may be used.

TensorRT checks neither who built a plan nor from what: a foreign one fails late, or runs and answers wrongly. So each
plan lies in a folder named after its identity, with a sidecar that is compared before a byte of the plan is loaded:

    plans/detector.fp32.portable.0123456789ab/
        plan.json        identity, chain of steps, SHA-256, tensors, profile, how the build went
        detector.plan    what TensorRT wrote
        build.log        what TensorRT said

A network that was cut at its operators is a chain of several engines (`mgts_trt.plans.chain`):

    plans/detector.fp32.portable.kernel.0123456789ab/
        plan.json, build.log
        detector.0.plan, detector.1.plan …
        constants.npz    what the operators between them read
"""

import json
import os
import platform
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mgts_trt._typing import Self
from mgts_trt.bundle import operators
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import Sha256
from mgts_trt.bundle.onnx_domains import calls_operators
from mgts_trt.bundle.recipe import Profile, load_recipe
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.choices import Lowering
from mgts_trt.errors import PlanError, first_fault
from mgts_trt.machine.data_files import json_sha256, read_json
from mgts_trt.machine.files import file_sha256, replace_file
from mgts_trt.plans.batch import plan_batch
from mgts_trt.plans.build_commands import build_command, folder_batch, rebuild
from mgts_trt.plans.chain import CONSTANTS, Chain, EngineStep
from mgts_trt.plans.flavour import Flavour
from mgts_trt.plans.support import FlavourName, title

PLAN_FORMAT = 5
"""The sidecar format this version writes and reads."""

RECORD = "plan.json"
LOG = "build.log"
CHECKSUM = "sha256"

_FORMS: dict[Lowering, str] = {
    "graph": "layers of its graph",
    "kernel": "kernels between its engines",
    "plugin": "plugins inside its engine",
}

Count = Annotated[int, Field(ge=0)]


class PlanIdentity(BaseModel):
    """All that must agree between the machine that built a plan and the one that runs it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    precision: str
    flavour: FlavourName
    flavour_version: str
    target: str = Field(description="`portable`, or a compute capability: `sm_86`")
    platform: str = Field(description="system and processor: `linux-x86_64`")
    onnx_sha256: Sha256
    recipe_sha256: Sha256
    lowering: Lowering = Field(description="of the operators; `graph` for a model that calls none")
    operators: int = Field(ge=1, description="version of the domain `mgts` that was computed")
    batch: int = Field(ge=1, description="most pictures at once; 1 for a model that takes people")
    settings: dict[str, bool | int] = Field(description="what the builder was told")

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        model: str,
        precision: str,
        target: str,
        flavour: Flavour,
        lowering: Lowering = "graph",
        batch: int = 1,
    ) -> Self:
        """The identity of a plan that is built here and now.

        Args:
            bundle: Holds the ONNX file.
            model: One of the bundle's models.
            precision: One of the model's precisions.
            target: `portable` or `sm_…`; not `current`.
            flavour: Builds the plan.
            lowering: Of the model's operators; one that calls none has the same plan in all of them.
            batch: Most pictures at once; a model that takes people, or a single picture, has the same plan for all.

        Raises:
            BundleError: The bundle does not hold the model in that precision.
            OnnxError: The model's file cannot be read.
        """
        path = bundle.model_path(model, precision)
        recipe = load_recipe(model)
        return cls(
            model=model,
            precision=precision,
            flavour=flavour.name,
            flavour_version=flavour.version,
            target=target,
            platform=this_platform(),
            onnx_sha256=bundle.model(model).files[precision].sha256,
            recipe_sha256=recipe.sha256,
            lowering=lowering if lowering == "graph" or calls_operators(path) else "graph",
            operators=operators.VERSION,
            batch=plan_batch(bundle.model(model), batch),
            settings=flavour.settings(recipe.builder),
        )

    @property
    def digest(self) -> str:
        """SHA-256 over all fields, in hexadecimal."""
        return json_sha256(self.model_dump(mode="json"))

    @property
    def folder(self) -> str:
        """The plan's folder inside `plans/`: `idnet.fp32.portable.0123456789ab`, `mgts.fp32.portable.kernel.…`.

        For more pictures than one it says how many: `detector.fp32.portable.batch4.…`.
        """
        form = "" if self.lowering == "graph" else f".{self.lowering}"
        batch = "" if self.batch == 1 else f".batch{self.batch}"
        return f"{self.model}.{self.precision}.{self.target}{form}{batch}.{self.digest[:12]}"

    def differences(self, expected: Self) -> list[str]:
        """What keeps this plan from being the `expected` one: clauses a person reads, none if they are the same."""
        clauses = []
        if self.model != expected.model:
            clauses.append(f"it is a plan of {self.model}, not of {expected.model}")
        if self.precision != expected.precision:
            clauses.append(f"its precision is {self.precision}, not {expected.precision}")
        if (self.flavour, self.flavour_version) != (expected.flavour, expected.flavour_version):
            built, here = (f"{title(each.flavour)} {each.flavour_version}" for each in (self, expected))
            clauses.append(f"it was built by {built}, this is {here}")
        if self.target != expected.target:
            clauses.append(f"it was built for {self.target}, not for {expected.target}")
        if self.platform != expected.platform:
            clauses.append(f"it was built on {self.platform}, this is {expected.platform}")
        if self.onnx_sha256 != expected.onnx_sha256:
            clauses.append(
                f"it was built from another ONNX file (SHA-256 {self.onnx_sha256[:12]}…, "
                f"the bundle's is {expected.onnx_sha256[:12]}…)"
            )
        if self.recipe_sha256 != expected.recipe_sha256:
            clauses.append(f"the recipe of {expected.model} has changed since")
        if self.lowering != expected.lowering:
            clauses.append(f"its operators are {_FORMS[self.lowering]}, not {_FORMS[expected.lowering]}")
        if self.operators != expected.operators:
            clauses.append(f"its operators are of version {self.operators}, not {expected.operators}")
        if self.batch != expected.batch:
            clauses.append(f"it takes {_pictures(self.batch)} at once, not {_pictures(expected.batch)}")
        for key in sorted(self.settings.keys() | expected.settings.keys()):
            mine, wanted = self.settings.get(key), expected.settings.get(key)
            if mine != wanted:
                clauses.append(f"it was built with {key} = {_setting(mine)}, now it is {_setting(wanted)}")
        return clauses


class PlanRecord(BaseModel):
    """The sidecar of a plan: what it is, and how the build went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[5] = 5
    tool: str = Field(description="version of mgts-trt that built it")
    identity: PlanIdentity
    chain: Chain = Field(description="what it runs: one engine, or several and operators between them")
    seconds: float = Field(ge=0, description="wall time of the build")
    peak_memory_mib: int | None = Field(default=None, description="most main memory the process has held until then")
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    profile: dict[str, Profile] = Field(description="sizes a named dimension may take")
    onnx_nodes: int = Field(ge=0, description="nodes of the ONNX graph")
    onnx_nodes_with_layer: int = Field(
        ge=0, description="the rest only move or describe data; see `mgts_trt.plans.builder.parsing`"
    )
    layers: dict[str, Count] = Field(description="type of a layer's first output → layers of the network")
    warnings: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_of_its_lowering(self) -> Self:
        if self.identity.lowering != "kernel" and len(self.chain.steps) != 1:
            raise ValueError(f"a plan with its operators in {_FORMS[self.identity.lowering]} is one engine")
        return self

    @property
    def plan_bytes(self) -> int:
        """Of all its engines."""
        return sum(step.bytes for step in self.chain.engines)

    @property
    def macs(self) -> dict[str, int]:
        """Precision → MACs that its engines do in it, a dynamic dimension at its opt; the most first."""
        total: Counter[str] = Counter()
        for step in self.chain.engines:
            total.update(step.macs)
        return dict(total.most_common())

    def write(self, folder: Path) -> None:
        """Write the sidecar into `folder` in one step, with a checksum of its own."""
        data = self.model_dump(mode="json")
        with replace_file(folder / RECORD) as temporary:
            temporary.write_text(json.dumps({**data, CHECKSUM: json_sha256(data)}, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the sidecar in `folder`.

        Raises:
            PlanError: It is missing, truncated, altered, or of another format.
        """
        path = folder / RECORD
        try:
            data: Any = read_json(path)
        except FileNotFoundError:
            raise PlanError(f"The plan {folder} has no {RECORD}. {rebuild(folder)}") from None
        except OSError as error:
            raise PlanError(
                f"Cannot read {path}: {error.strerror}. Make it readable, or {rebuild(folder, 'b')}"
            ) from error
        except ValueError as error:
            raise PlanError(f"{path} is truncated or altered: {error}. {rebuild(folder)}") from error
        newest = data.get("format") if isinstance(data, dict) else None
        if type(newest) is int and PLAN_FORMAT < newest < 1000:
            raise PlanError(
                f"{path} has format {newest}; this version of mgts-trt reads up to {PLAN_FORMAT}. "
                f"Upgrade mgts-trt, or {rebuild(folder, 'b')}"
            )
        if type(newest) is int and 0 < newest < PLAN_FORMAT:
            raise PlanError(
                f"{path} has format {newest}, this version of mgts-trt reads {PLAN_FORMAT}. {rebuild(folder)}"
            )
        checksum = data.pop(CHECKSUM, None) if isinstance(data, dict) else None
        if checksum != json_sha256(data):
            raise PlanError(f"{path} is altered: its checksum does not match. {rebuild(folder)}")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise PlanError(f"{path} is altered: {first_fault(error)}. {rebuild(folder)}") from error


@dataclass(frozen=True)
class Plan:
    """A plan on disk.

    Attributes:
        folder: Where it lies.
        record: Its sidecar.
    """

    folder: Path
    record: PlanRecord

    @property
    def files(self) -> tuple[Path, ...]:
        """What TensorRT wrote: the engines, in the order they run."""
        return tuple(map(self.file, self.record.chain.engines))

    def file(self, step: EngineStep) -> Path:
        """Where one of its engines lies."""
        return self.folder / step.file


def this_platform() -> str:
    """System and processor: `linux-x86_64`."""
    return f"{platform.system()}-{platform.machine()}".lower()


def verify_plan(folder: Path, expected: PlanIdentity | None = None) -> PlanRecord:
    """Check a plan: first who it is, then every byte.

    Args:
        folder: Of the plan.
        expected: The identity it must have; None checks only that the plan is what its own sidecar says.

    Raises:
        PlanError: The sidecar cannot be used, the identity differs, or the plan is missing or altered.
    """
    record = PlanRecord.read(folder)
    if expected is not None and (differences := record.identity.differences(expected)):
        raise PlanError(f"The plan {folder} cannot be used here: {'; '.join(differences)}. {rebuild(folder)}")
    for step in record.chain.engines:
        _verify_file(folder / step.file, step.sha256, step.bytes)
    if record.chain.constants_sha256 is not None:
        _verify_file(folder / CONSTANTS, record.chain.constants_sha256)
    return record


def find_plan(bundle: Bundle, expected: PlanIdentity) -> Plan:
    """The plan of the bundle that has the `expected` identity, verified.

    Raises:
        SignatureError: The bundle was opened with a key, and the plan is not signed.
        PlanError: There is none (the message says what the nearest one differs in), or it is altered.
    """
    folder = bundle.plans / expected.folder
    if os.path.isdir(folder):  # Path.is_dir raises where the folder above cannot be read
        plan = Plan(folder, verify_plan(folder, expected))
        bundle.require_signed(folder / RECORD)  # it has the digests of the other files
        return plan
    asked = f"{expected.model} in {expected.precision} for {expected.target}"
    if expected.lowering != "graph":
        asked += f" with its operators as {expected.lowering}s"
    if expected.batch > 1:
        asked += f" for {_pictures(expected.batch)} at once"
    command = build_command(bundle.root, expected.model, expected.lowering, expected.batch)
    nearest: tuple[Path, list[str]] | None = None
    for other in plan_folders(bundle):
        try:
            differences = PlanRecord.read(other).identity.differences(expected)
        except PlanError:
            continue
        if other.name.startswith(f"{expected.model}.") and (nearest is None or len(differences) < len(nearest[1])):
            nearest = other, differences
    if nearest is None:
        raise PlanError(f"The bundle {bundle.root} has no plan of {asked}. Build it with `{command}`.")
    raise PlanError(
        f"The bundle {bundle.root} has no plan of {asked} that can be used here. It has {nearest[0].name}, but "
        f"{'; '.join(nearest[1])}. Build it with `{command}`."
    )


def plan_folders(bundle: Bundle) -> list[Path]:
    """The folders of all plans of a bundle, finished ones only, by name.

    Raises:
        PlanError: The folder they lie in cannot be read.
    """
    try:
        inside = list(bundle.plans.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise PlanError(f"Cannot read {bundle.plans}: {error.strerror}. Let this user read the bundle.") from error
    return sorted(path for path in inside if os.path.isdir(path) and not path.name.startswith("."))


def built_batches(bundle: Bundle, model: str) -> set[int]:
    """For how many pictures at once there may be plans of a model, by the names of their folders; 1 is among them.

    Raises:
        PlanError: The folder they lie in cannot be read.
    """
    mine = (folder for folder in plan_folders(bundle) if folder.name.startswith(f"{model}."))
    return {1, *map(folder_batch, mine)}


def most_built(bundle: Bundle, models: tuple[str, ...]) -> int:
    """The most pictures at once for which there may be plans; 1 where nobody can look: loading plans then says why."""
    try:
        return max(max(built_batches(bundle, model)) for model in models)
    except PlanError:
        return 1


def _verify_file(path: Path, sha256: str, size: int | None = None) -> None:
    folder = path.parent
    try:
        if not path.is_file():
            raise PlanError(f"{path} is missing. {rebuild(folder)}")
        found, digest = path.stat().st_size, file_sha256(path)
    except OSError as error:
        raise PlanError(f"Cannot read {path}: {error.strerror}. Make it readable, or {rebuild(folder, 'b')}") from error
    if size is not None and found != size:
        raise PlanError(
            f"{path} has {found:,} bytes, its {RECORD} says {size:,}: it is truncated or altered. {rebuild(folder)}"
        )
    if digest != sha256:
        raise PlanError(
            f"{path} is altered: its SHA-256 is {digest[:12]}…, its {RECORD} says {sha256[:12]}…. {rebuild(folder)}"
        )


def _setting(value: bool | int | None) -> str:
    return "unset" if value is None else str(value).lower()


def _pictures(count: int) -> str:
    return f"{count} picture{'s' * (count != 1)}"
