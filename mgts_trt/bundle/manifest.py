"""The manifest: everything the runtime must know about a bundle, and what every file of it must hold."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mgts_trt.bundle.recipe import MODELS
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BundleError, first_fault
from mgts_trt.machine.files import file_sha256, replace_file

FORMAT = 1
"""The bundle format this version writes and the newest it reads."""
MANIFEST = "manifest.json"


def _inside(file: str) -> str:
    path = PurePosixPath(file)
    if not file or path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file:
        raise ValueError(f"{file!r} leads out of the bundle; only relative paths inside it are allowed")
    return file


RelativePath = Annotated[str, AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[float, float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleFile(_Strict):
    """A file of the bundle and what it must contain."""

    file: RelativePath
    sha256: Sha256
    bytes: int = Field(ge=0)

    @classmethod
    def of(cls, root: Path, file: str) -> Self:
        """Describe `file` (relative to `root`) as it is on disk now."""
        return cls(file=file, sha256=file_sha256(root / file), bytes=(root / file).stat().st_size)


class Quantisation(_Strict):
    """How a model's INT8 file was made."""

    calibration: str = Field(description="method that chose the scales of activations")
    residuals: bool = Field(description="whether shortcuts of residual additions are quantised")
    kept: tuple[str, ...] = Field(default=(), description="layers left in half")


class Calibration(_Strict):
    """The pictures INT8 was calibrated on; they are not in the bundle."""

    pictures: dict[str, Sha256] = Field(description="file name → digest of its bytes")
    sha256: Sha256 = Field(description="digest of all of these digests, sorted and joined")

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Self:
        """Describe picture files as they are on disk now."""
        pictures = {path.name: file_sha256(path) for path in paths}
        return cls(pictures=pictures, sha256=hashlib.sha256("".join(sorted(pictures.values())).encode()).hexdigest())


class Model(_Strict):
    """One network: its ONNX file in each exported precision, and its tensors."""

    files: dict[str, BundleFile] = Field(min_length=1, description="precision → ONNX file")
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    recipe_sha256: Sha256 = Field(description="the recipe in engines/ the model was exported for")
    ranges: BundleFile | None = Field(default=None, description="JSON: values of its layers on real pictures")
    kept_float32: dict[str, tuple[str, ...]] = Field(
        default={}, description="precision → ONNX nodes left in float32 there because their values would overflow"
    )
    quantisation: Quantisation | None = Field(default=None, description="of the INT8 file")


class Golden(_Strict):
    """A real picture that fills the canvas without resizing, and what PyTorch gave for it."""

    name: str
    picture: BundleFile = Field(description="PNG")
    outputs: BundleFile = Field(description="npz; see docs/bundle.md")
    source: str = Field(description="where the picture is from and under which terms")


class Labelled(_Strict):
    """A labelled set (`mgts_trt.evaluation.labelled`) under `labelled/`, and what PyTorch found in it."""

    labels: BundleFile = Field(description="labels.json")
    pictures: tuple[BundleFile, ...] = Field(description="the set's pictures and masks")
    reference: BundleFile = Field(description="npz; see mgts_trt/evaluation/task_run.py")


class Normalisation(_Strict):
    """What the networks do to pixels: (x − mean) / std, RGB, in units of 0…255."""

    mean: Colour
    std: Colour


class Thresholds(_Strict):
    """What counts as a person, an instance, a foreground pixel."""

    detection: Probability = Field(description="least detector score of a person")
    instance: Probability = Field(description="least mask-net score of an instance painted on the instance map")
    mask: Probability = Field(description="least mask probability of a foreground pixel")


class Training(_Strict):
    """Where the weights come from."""

    trained: bool
    seed: int | None = Field(default=None, description="of the initialisation, where weights are untrained")
    checkpoints: dict[str, Sha256] = Field(default={}, description="model → digest of the checkpoint exported")
    note: str = ""


class Manifest(_Strict):
    """Everything the runtime must know about a bundle."""

    format: Literal[1]
    preset: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    canvas: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] = Field(description="height, width")
    pad: tuple[int, int, int] = Field(description="RGB of the canvas where the picture does not reach")
    normalisation: Normalisation
    patch: tuple[int, int] = Field(description="height, width of a re-ID patch")
    gamma: float = Field(ge=1, description="RoI expand ratio γ (Sec. 4.3)")
    embedding: int = Field(ge=1, description="length of an embedding")
    thresholds: Thresholds
    models: dict[str, Model]
    golden: tuple[Golden, ...] = ()
    labelled: Labelled | None = None
    calibration: Calibration | None = None
    training: Training
    versions: dict[str, str] = Field(description="of the packages that made the bundle")

    @model_validator(mode="after")
    def _known_models(self) -> Self:
        if unknown := sorted(self.models.keys() - set(MODELS)):
            raise ValueError(f"unknown models {', '.join(unknown)}; a bundle holds {', '.join(MODELS)}")
        return self

    @property
    def files(self) -> list[BundleFile]:
        """Every file the bundle must hold beside its manifest."""
        models = [file for model in self.models.values() for file in model.files.values()]
        models += [model.ranges for model in self.models.values() if model.ranges is not None]
        goldens = [file for golden in self.golden for file in (golden.picture, golden.outputs)]
        labelled = self.labelled
        return models + goldens + ([labelled.labels, *labelled.pictures, labelled.reference] if labelled else [])


def read_manifest(root: Path) -> Manifest:
    """Read and validate `root/manifest.json`, without looking at the other files.

    Raises:
        BundleError: See `Bundle.open`.
    """
    path = root / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        what = "is not a folder" if not root.is_dir() else f"has no {MANIFEST}"
        raise BundleError(
            f"{root} is not a bundle: it {what}. Name a folder written by `python -m export --out DIR`; "
            "an export that was interrupted leaves no manifest: run it again."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"Cannot read {path}: {error}.") from error
    try:
        data: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise BundleError(
            f"{path} is not valid JSON ({error}): it is truncated or altered. Copy the bundle again."
        ) from error
    newest = data.get("format") if isinstance(data, dict) else None
    if isinstance(newest, int) and newest > FORMAT:
        raise BundleError(
            f"The bundle {root} has format {newest}; this version of mgts-trt reads up to {FORMAT}. "
            "Upgrade mgts-trt, or export the bundle again with this version."
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise BundleError(
            f"{path} is not a manifest this version understands: {first_fault(error)}. "
            "Copy the bundle again, or export it again."
        ) from error


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write `root/manifest.json` in one step, so that a reader sees the whole of it or none."""
    with replace_file(root / MANIFEST) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
