"""The manifest: everything the runtime must know about a bundle, and what every file of it must hold."""

import hashlib
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mgts_trt._typing import Self
from mgts_trt.bundle.recipe import MODELS, load_recipe
from mgts_trt.bundle.tensors import Name, TensorSpec
from mgts_trt.errors import BundleError, RecipeError, first_fault
from mgts_trt.machine.data_files import json_sha256, read_json
from mgts_trt.machine.files import file_sha256, replace_file
from mgts_trt.machine.installation import in_checkout

FORMAT = 3
"""The bundle format this version writes and reads. In earlier ones detector and mask net took one picture without a
batch axis, and in format 1 the manifest had no digest."""
MANIFEST = "manifest.json"
DIGEST = "sha256"
"""The manifest's field that holds the digest of all others (`json_sha256`)."""

LONGEST_PATH, LONGEST_NAME = 1024, 255
"""Bytes of a file's path in a bundle, and of each of its parts: what file systems take."""


def _inside(file: str) -> str:
    path = PurePosixPath(file)
    if not file or path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file:
        raise ValueError(f"{file[:60]!r} leads out of the bundle; only relative paths inside it are allowed")
    too_long = len(file.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in path.parts)
    if too_long or not file.isprintable():
        raise ValueError(f"{file[:60]!r}… is no name of a file")
    return file


RelativePath = Annotated[str, AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Colour = Annotated[int, Field(ge=0, le=255)]
Mean = Annotated[float, Field(ge=-255, le=255)]
Deviation = Annotated[float, Field(ge=1e-3, le=1e3)]
CanvasSide = Annotated[int, Field(ge=32, le=8192)]
PatchSide = Annotated[int, Field(ge=8, le=2048)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


class Converted(_Strict):
    """Where a file that was made from the bundle's FP32 file comes from."""

    fp32_sha256: Sha256 = Field(description="the FP32 file it was made from")
    calibration_sha256: Sha256 | None = Field(default=None, description="digest of INT8's calibration pictures")
    versions: dict[str, str] = Field(description="of the packages that made it")
    at_parity: bool | None = Field(
        default=None,
        description="whether it was within its tolerances on the goldens then; null: not compared",
    )


class Calibration(_Strict):
    """The pictures INT8 was calibrated on; they are not in the bundle."""

    pictures: dict[str, Sha256] = Field(description="file name → digest of its bytes")
    sha256: Sha256 = Field(description="digest of all of these digests, sorted and joined")

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Self:
        """Describe picture files as they are on disk now."""
        pictures = {path.name: file_sha256(path) for path in paths}
        return cls(pictures=pictures, sha256=hashlib.sha256("".join(sorted(pictures.values())).encode()).hexdigest())


class Provenance(_Strict):
    """The file of another project that a model was made of; parity compares with that file."""

    file: Name
    sha256: Sha256
    opset: int = Field(ge=1, description="of the standard operators")
    producer: Name = Field(description="what wrote it, as it says")
    licence: Name | None = Field(default=None, description="as whoever imported it said")
    options: dict[Name, Name] = Field(default={}, description="how it was taken: recognised, or said")
    resize_cosine: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="of a re-ID network: the least cosine, over the goldens' people, of what the file gives for crops "
        "resized as its author does and as the pipeline does",
    )


class Model(_Strict):
    """One network: its ONNX file in each exported precision, and its tensors."""

    files: dict[Name, BundleFile] = Field(min_length=1, description="precision → ONNX file")
    inputs: dict[Name, TensorSpec]
    outputs: dict[Name, TensorSpec]
    recipe_sha256: Sha256 = Field(description="the recipe in engines/ the model was exported for")
    ranges: BundleFile | None = Field(default=None, description="JSON: values of its layers on real pictures")
    kept_float32: dict[Name, tuple[str, ...]] = Field(
        default={}, description="precision → ONNX nodes left in float32 there because their values would overflow"
    )
    quantisation: Quantisation | None = Field(default=None, description="of the INT8 file")
    converted: dict[Name, Converted] = Field(default={}, description="precision → how its file was made from FP32's")
    imported: Provenance | None = Field(default=None, description="None where it was exported from PyTorch here")

    @property
    def weights(self) -> str:
        """SHA-256 of the FP32 file, which the other precisions are made from; of all files where there is none."""
        if "fp32" in self.files:
            return self.files["fp32"].sha256
        return hashlib.sha256("".join(sorted(file.sha256 for file in self.files.values())).encode()).hexdigest()


class Golden(_Strict):
    """A picture that fills the canvas without resizing, and what PyTorch, or an imported file, gave for it."""

    name: Name
    picture: BundleFile = Field(description="PNG")
    outputs: BundleFile = Field(description="npz of what that gave")
    source: str = Field(description="where the picture is from and under which terms")


class Labelled(_Strict):
    """A labelled set (`mgts_trt.evaluation.labelled`) under `labelled/`, and what PyTorch found in it."""

    labels: BundleFile = Field(description="labels.json")
    pictures: tuple[BundleFile, ...] = Field(description="the set's pictures and masks")
    reference: BundleFile = Field(description="npz; see mgts_trt/evaluation/task_run.py")


class Normalisation(_Strict):
    """What the networks do to pixels: (x − mean) / std, RGB, in units of 0…255."""

    mean: tuple[Mean, Mean, Mean]
    std: tuple[Deviation, Deviation, Deviation]


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


LIKENESS_POINTS = 64
"""How many points of a curve of false matches a manifest may hold."""
Cosine = Annotated[float, Field(ge=-1.01, le=1.01, description="rounding may bring it beyond 1")]
Share = Annotated[float, Field(gt=0, le=1)]


class FalseMatches(_Strict):
    """How alike different people look to a re-ID network in one mode, measured on labelled people held out."""

    cosines: tuple[Cosine, ...] = Field(max_length=LIKENESS_POINTS, description="of embeddings, rising")
    far: tuple[Share, ...] = Field(
        max_length=LIKENESS_POINTS,
        description="false-accept rate: the share of pairs of different people, seen by different cameras, whose "
        "cosine is at least that in the same place of `cosines`; falling, from 1",
    )
    pairs: int = Field(ge=1, description="of different people that were compared")
    people: int = Field(ge=2, description="in them")
    of: Name = Field(description="the sets they are of")
    network: Sha256 = Field(description="what described them: `Model.weights`")

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if len(self.cosines) != len(self.far) or len(self.far) < 2 or self.far[0] != 1:
            raise ValueError("cosines and far are two or more points each, as many, and far begins at 1")
        if any(b <= a for a, b in pairwise(self.cosines)) or any(b >= a for a, b in pairwise(self.far)):
            raise ValueError("cosines are to rise, and far to fall, from each point to the next")
        return self


class Manifest(_Strict):
    """Everything the runtime must know about a bundle."""

    format: Literal[3] = 3
    preset: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    canvas: tuple[CanvasSide, CanvasSide] = Field(description="height, width")
    pad: tuple[Colour, Colour, Colour] = Field(description="RGB of the canvas where the picture does not reach")
    normalisation: Normalisation
    patch: tuple[PatchSide, PatchSide] = Field(description="height, width of a re-ID patch")
    gamma: float = Field(ge=1, le=16, description="RoI expand ratio γ (Sec. 4.3)")
    embedding: int = Field(ge=1, le=65536, description="length of an embedding")
    thresholds: Thresholds
    models: dict[Name, Model]
    golden: tuple[Golden, ...] = ()
    labelled: Labelled | None = None
    calibration: Calibration | None = None
    likeness: dict[Name, FalseMatches] = Field(default={}, description="mode → how alike different people look in it")
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
    data = _read(root)
    told = data.pop(DIGEST, None)
    _require_format(root, data)
    if told != json_sha256(data):
        raise BundleError(
            f"{path} is altered: its digest is not that of what it says. Copy the bundle again; if you changed it on "
            f"purpose, write the digest anew with `mgts-trt bundle seal {root}`."
        )
    return _validate(path, data)


def seal_manifest(root: Path) -> Manifest:
    """Write the digest of `root/manifest.json` anew, after a change by hand.

    Raises:
        BundleError: As `read_manifest`, whatever the digest; or the manifest cannot be written.
    """
    data = _read(root)
    data.pop(DIGEST, None)
    _require_format(root, data)
    manifest = _validate(root / MANIFEST, data)
    try:
        write_manifest(root, manifest)
    except OSError as error:
        raise BundleError(f"Cannot write {root / MANIFEST}: {error.strerror}. Make the folder writable.") from error
    return manifest


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write `root/manifest.json` with its digest, in one step, so that a reader sees the whole of it or none."""
    data = {**manifest.model_dump(mode="json"), "format": FORMAT}
    text = json.dumps({**data, DIGEST: json_sha256(data)}, indent=2, ensure_ascii=False)
    with replace_file(root / MANIFEST) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _read(root: Path) -> dict[str, Any]:
    path = root / MANIFEST
    advice = "Copy the bundle again, or export it again."
    try:
        data = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        what = "is not a folder" if not root.is_dir() else f"has no {MANIFEST}"
        raise BundleError(
            f"{root} is not a bundle: it {what}. Name a folder that "
            f"{in_checkout('`python -m export --out DIR`')} wrote; "
            "an export that was interrupted leaves no manifest: run it again."
        ) from None
    except PermissionError as error:
        raise BundleError(f"Cannot read {path}: {error.strerror}. Let this user read the bundle.") from error
    except OSError as error:
        raise BundleError(f"Cannot read {path}: {error.strerror}. {advice}") from error
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON ({error}): it is truncated or altered. {advice}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path} holds no JSON object: it is truncated or altered. {advice}")
    return data


def _require_format(root: Path, data: dict[str, Any]) -> None:
    found = data.get("format")
    if type(found) is not int or not 0 < found < 1000:
        return  # no number of ours: `_validate` says what is wrong
    if found > FORMAT:
        raise BundleError(
            f"{root / MANIFEST} has format {found}; this version of mgts-trt reads format {FORMAT}. Upgrade mgts-trt, "
            "or export the bundle again with this version."
        )
    if found < FORMAT:
        versions = data.get("versions")
        maker = versions.get("mgts-trt") if isinstance(versions, dict) else None
        raise BundleError(
            f"{root / MANIFEST} has format {found}, whose detector and mask net take no batch of pictures; this "
            f"version of mgts-trt reads format {FORMAT}. Export it again from its checkpoints with this version, or "
            f"run it with the version that made it{f', {str(maker)[:20]}' if maker else ''}."
        )


def _validate(path: Path, data: dict[str, Any]) -> Manifest:
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        raise BundleError(
            f"{path} is not a manifest this version understands: {first_fault(error)}. "
            "Copy the bundle again, or export it again."
        ) from error
    for name, model in manifest.models.items():
        _require_tensors(path, manifest, name, model)
    return manifest


def _require_tensors(path: Path, manifest: Manifest, name: str, model: Model) -> None:
    """A model's tensors are those the pipeline gives and takes: its recipe's, in the manifest's sizes."""
    try:
        sizes = load_recipe(name).bind(model.inputs, model.outputs)
    except RecipeError as error:
        raise BundleError(f"{path} describes a model that cannot run: {error}") from error
    expected = dict(zip(("Hc", "Wc", "Hp", "Wp"), manifest.canvas + manifest.patch, strict=True))
    for symbol, size in {**expected, "D": manifest.embedding}.items():
        if sizes.get(symbol, size) != size:
            raise BundleError(
                f"{path} contradicts itself: {name} is of tensors with {symbol} = {sizes[symbol]}, where canvas, patch "
                f"or embedding say {size}. Copy the bundle again, or export it again."
            )
