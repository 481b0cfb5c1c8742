"""How many pictures a plan takes at once: the dimension B of a model, fixed to 1, or 1 to as many as were asked for.

A plan for one picture is as static as a network can be, so TensorRT chooses its kernels for these sizes alone. One for
more takes any number up to its own, and is tuned for that.
"""

from mgts_trt.bundle.manifest import Model
from mgts_trt.bundle.recipe import PICTURES, Profile, Recipe
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError

MOST = 64
"""Pictures at once for which plans are built."""


def plan_batch(model: Model, batch: int) -> int:
    """How many pictures a plan takes where `batch` are asked for: 1 if its model has no dimension of them."""
    return batch if any(PICTURES in spec.symbols for spec in model.inputs.values()) else 1


def require_batch(name: str, model: Model, batch: int) -> None:
    """Refuse a number of pictures that a model cannot take.

    Args:
        name: Of the model.
        model: What the manifest says of it. One that takes no pictures, but people, may have any.
        batch: Pictures at once.

    Raises:
        BuildError: The number is out of range, or the model takes one picture and more are asked for.
    """
    if not 1 <= batch <= MOST:
        raise BuildError(f"A batch of {batch} is asked for, but plans take 1 to {MOST} pictures at once.")
    if "image" in model.inputs and plan_batch(model, batch) != batch:
        raise BuildError(
            f"{name} takes one picture at a time: its image is {model.inputs['image']}. Build it with --batch 1, or "
            "export the bundle again with a model that takes more."
        )


def at_batch(specs: dict[str, TensorSpec], batch: int) -> dict[str, TensorSpec]:
    """The tensors of a model as its plan has them: for one picture, B is 1."""
    if batch > 1:
        return specs
    return {name: spec.fixed({PICTURES: 1}) for name, spec in specs.items()}


def plan_profile(recipe: Recipe, inputs: dict[str, TensorSpec], batch: int) -> dict[str, Profile]:
    """The sizes that the named dimensions of a plan's inputs may take."""
    known = {**recipe.profile, PICTURES: Profile(min=1, opt=batch, max=batch)}
    symbols = set[str]().union(*(spec.symbols for spec in inputs.values()))
    return {symbol: known[symbol] for symbol in sorted(symbols)}
