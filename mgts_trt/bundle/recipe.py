"""Engine recipes: what each TensorRT engine is, read from `engines/*.toml`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mgts_trt._typing import Self
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import RecipeError, first_fault
from mgts_trt.machine.data_files import json_sha256, read_toml
from mgts_trt.machine.installation import reinstall_command

MODELS = ("detector", "masknet", "mgts", "idnet", "joint")
"""Every model of a bundle, in the order the pipeline meets them; the last stands alone. A bundle need not hold all."""


PICTURES = "B"
"""The dimension of pictures: of the detector's and the mask net's tensors the first. A model may have it fixed to 1 and
then runs picture by picture; where it is named, whoever opens or builds the model for some size fixes it first."""

MIN_SHARE = {"fp16": 0.95, "int8": 0.90}
"""Least share of a model's MACs that must run in the precision asked for, where its recipe does not say; the rest are
islands kept exact on purpose. Nothing is demanded of precisions not named here."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(_Frozen):
    """The sizes a named dimension may take: TensorRT tunes for `opt` and refuses what lies outside `min`…`max`."""

    min: int = Field(ge=1)
    opt: int = Field(ge=1)
    max: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"min ≤ opt ≤ max expected, got {self.min}, {self.opt}, {self.max}")
        return self


def profile_shapes(
    profile: Mapping[str, Profile], inputs: Mapping[str, TensorSpec], bound: Literal["min", "opt", "max"]
) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs that have dynamic dimensions, at one bound of the profile."""
    sizes = {symbol: getattr(bounds, bound) for symbol, bounds in profile.items()}
    return {name: spec.sized(sizes) for name, spec in inputs.items() if spec.symbols}


_SIZES = (1, 2, 4, 8, 16, 32, 64)


def batch_sizes(profile: Profile) -> tuple[int, ...]:
    """The batches a network runs in on a GPU, ascending: powers of two within the profile, and its largest."""
    return tuple(sorted({size for size in _SIZES if profile.min <= size <= profile.max} | {profile.max}))


class Builder(_Frozen):
    """Settings that change the plan TensorRT builds; part of the plan's identity."""

    optimization_level: int = Field(default=3, ge=0, le=5)
    workspace_mib: int = Field(default=2048, ge=16)
    tf32: bool = False  # FP32 is the reference precision; who wants speed takes FP16


class Tolerance(_Frozen):
    """How far a session may be from the goldens; what does not apply to a model is left out.

    Boxes are matched by IoU first; the other bounds hold for matched rows.
    """

    matched: float | None = Field(default=None, ge=0, le=1, description="least share of golden boxes found again")
    box_iou: float | None = Field(default=None, ge=0, le=1, description="IoU at which a box counts as found again")
    score: float | None = Field(default=None, ge=0, description="largest absolute difference of a score")
    mask: float | None = Field(default=None, ge=0, description="largest absolute difference of a mask probability")
    cosine: float | None = Field(default=None, ge=0, le=1, description="least cosine of two embeddings")


Calibration = Literal["max", "percentile", "mse"]
"""How INT8's scales are chosen; see `mgts_trt.precisions.calibration`."""


class Precision(_Frozen):
    """One precision the model may be built in. The last three are for INT8, where a study of sensitivity chose them."""

    tolerance: Tolerance
    min_share: float | None = Field(
        default=None, ge=0, le=1, description="least share of MACs in this precision; None means `MIN_SHARE`'s"
    )
    calibration: Calibration = Field(default="percentile", description="how the scales of activations are chosen")
    residuals: bool = Field(default=True, description="whether shortcuts of residual additions are quantised")
    keep: tuple[str, ...] = Field(default=(), description="layers left in half; `*` stands for anything")


class Recipe(_Frozen):
    """What one TensorRT engine is.

    Shapes may hold symbols (`"Hc"`), bound to numbers by the bundle; a symbol with a profile stays dynamic, but for
    `PICTURES`, which may be fixed to 1. A model has all of its `optional` tensors, or none.
    """

    name: str
    summary: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    optional: tuple[str, ...] = ()
    profile: dict[str, Profile] = {}
    builder: Builder = Builder()
    precision: dict[str, Precision]

    @property
    def sha256(self) -> str:
        """Digest of everything above, independent of the file's layout and comments."""
        data = self.model_dump(mode="json")
        if not self.optional:  # younger than plans and bundles that are about
            del data["optional"]
        return json_sha256(data)

    def of(self, precision: str) -> Precision:
        """What it says of one precision.

        Raises:
            RecipeError: Nothing.
        """
        if precision not in self.precision:
            raise RecipeError(f"The recipe of {self.name} knows {', '.join(self.precision)}, not {precision}.")
        return self.precision[precision]

    def min_share(self, precision: str) -> float:
        """Least share of the model's MACs that must run in `precision`, one of this recipe's, 0…1."""
        own = self.precision[precision].min_share
        return MIN_SHARE.get(precision, 0.0) if own is None else own

    def bind(self, inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec]) -> dict[str, int]:
        """Check that a model's tensors are what this recipe says, and return the size each symbol took.

        Args:
            inputs: The model's inputs; sizes are numbers except for dimensions with a profile. `PICTURES` may be 1, in
                all tensors.
            outputs: The model's outputs.

        Raises:
            RecipeError: A tensor is missing, of another type or rank, or a symbol takes two sizes.
        """
        sizes: dict[str, int] = {}
        one_by_one = {PICTURES: 1} if not any(PICTURES in spec.shape for spec in inputs.values()) else {}
        without = set() if self.optional and self.optional[0] in {**inputs, **outputs} else set(self.optional)
        for all_of_mine, theirs in ((self.inputs, inputs), (self.outputs, outputs)):
            mine = {name: spec for name, spec in all_of_mine.items() if name not in without}
            if mine.keys() != theirs.keys():
                raise RecipeError(
                    f"{self.name}: the model has {', '.join(theirs)}, the recipe expects {', '.join(mine)}. "
                    "Export the bundle again with this version."
                )
            for tensor, named in mine.items():
                spec = named.fixed(one_by_one)
                if not self._matches(spec, theirs[tensor], sizes):
                    raise RecipeError(
                        f"{self.name}: {tensor} is {theirs[tensor]}, the recipe expects {spec}"
                        f"{f' with {sizes}' if sizes else ''}. Export the bundle again with this version."
                    )
        return sizes

    def _matches(self, mine: TensorSpec, theirs: TensorSpec, sizes: dict[str, int]) -> bool:
        if mine.dtype != theirs.dtype or len(mine.shape) != len(theirs.shape):
            return False
        for want, got in zip(mine.shape, theirs.shape, strict=True):
            if isinstance(want, str) and want not in self.profile:
                if isinstance(got, str) or sizes.setdefault(want, got) != got:
                    return False
            elif want != got:
                return False
        return True


def engines_folder() -> Path:
    """The folder of the recipes and kernels: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "engines", package.parent / "engines"):
        if (folder / "detector.toml").is_file():
            return folder
    raise RecipeError(
        f"No engine recipes in or beside {package}. The installation is incomplete; reinstall with "
        f"`{reinstall_command()}`."
    )


@cache
def load_recipe(name: str) -> Recipe:
    """The recipe of one model of `MODELS`.

    Raises:
        RecipeError: No such recipe, or it is malformed.
    """
    if name not in MODELS:
        raise RecipeError(f"There is no model {name!r}; the models are {', '.join(MODELS)}.")
    return read_recipe(engines_folder() / f"{name}.toml")


def read_recipe(path: Path) -> Recipe:
    """Read and validate one recipe file.

    Raises:
        RecipeError: The file is missing, is not TOML, or does not describe a recipe.
    """
    try:
        return Recipe.model_validate(read_toml(path))
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {path}: {error.strerror}.") from error
    except ValidationError as error:
        raise RecipeError(f"The recipe {path} is wrong {first_fault(error)}.") from error
    except ValueError as error:
        raise RecipeError(f"The recipe {path} is not valid TOML: {error}.") from error
