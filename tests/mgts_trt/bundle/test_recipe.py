from pathlib import Path

import pytest

from mgts_trt.bundle.recipe import MODELS, engines_folder, load_recipe, profile_shapes, read_recipe
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import RecipeError


def concrete(specs: dict[str, TensorSpec], sizes: dict[str, int]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(dtype=spec.dtype, shape=tuple(sizes.get(d, d) for d in spec.shape))
        for name, spec in specs.items()
    }


SIZES = {"Hc": 900, "Wc": 1500, "K": 300, "m": 21, "Hp": 256, "Wp": 128, "D": 128, "P": 8, "d": 256}


@pytest.mark.parametrize("name", MODELS)
def test_every_recipe_binds_to_the_papers_sizes(name: str) -> None:
    recipe = load_recipe(name)
    sizes = recipe.bind(concrete(recipe.inputs, SIZES), concrete(recipe.outputs, SIZES))
    assert sizes == {symbol: size for symbol, size in SIZES.items() if symbol in sizes}
    assert sizes


@pytest.mark.parametrize("name", ["mgts", "idnet"])
def test_the_person_batch_is_1_to_64(name: str) -> None:
    profile = load_recipe(name).profile["N"]
    assert (profile.min, profile.opt, profile.max) == (1, 8, 64)


def test_a_symbol_takes_one_size() -> None:
    recipe = load_recipe("masknet")
    outputs = concrete(recipe.outputs, SIZES)
    outputs["masks"] = TensorSpec(dtype="float32", shape=(299, 21, 21))
    with pytest.raises(RecipeError, match=r"masks is float32 \[299, 21, 21\]"):
        recipe.bind(concrete(recipe.inputs, SIZES), outputs)


@pytest.mark.parametrize(
    ("tensor", "wrong"),
    [
        ("original", TensorSpec(dtype="float16", shape=("N", 3, 256, 128))),
        ("original", TensorSpec(dtype="float32", shape=(8, 3, 256, 128))),
        ("original", TensorSpec(dtype="float32", shape=("N", 3, 256))),
        ("original", TensorSpec(dtype="float32", shape=("N", 3, "H", 128))),
    ],
)
def test_another_type_rank_or_static_batch_is_refused(tensor: str, wrong: TensorSpec) -> None:
    recipe = load_recipe("idnet")
    with pytest.raises(RecipeError, match=tensor):
        recipe.bind({tensor: wrong}, concrete(recipe.outputs, SIZES))


def test_missing_tensors_are_named() -> None:
    recipe = load_recipe("mgts")
    with pytest.raises(RecipeError, match="the recipe expects foreground, original"):
        recipe.bind({}, concrete(recipe.outputs, SIZES))


def test_the_digest_is_of_the_content_not_the_layout(tmp_path: Path) -> None:
    text = (engines_folder() / "mgts.toml").read_text()
    (tmp_path / "a.toml").write_text("# a remark\n" + text)
    (tmp_path / "b.toml").write_text(text.replace("opt = 8", "opt = 16"))
    assert read_recipe(tmp_path / "a.toml").sha256 == load_recipe("mgts").sha256
    assert read_recipe(tmp_path / "b.toml").sha256 != load_recipe("mgts").sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("opt = 8", "opt = 128"), "min ≤ opt ≤ max"),
        (('dtype = "float32"', 'dtype = "complex"'), "dtype"),
        (("[profile]", "[profile"), "not valid TOML"),
        (("[builder]", "[bilder]"), "bilder"),
    ],
)
def test_a_wrong_recipe_says_where(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = (engines_folder() / "mgts.toml").read_text()
    (tmp_path / "r.toml").write_text(text.replace(*change))
    with pytest.raises(RecipeError, match=message):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("precision", "line", "share"),
    [
        ("fp32", "", 0.0),
        ("fp16", "", 0.95),
        ("int8", "", 0.90),
        ("fp16", "min_share = 0.8", 0.8),
        ("fp32", "min_share = 1", 1),
    ],
)
def test_the_least_share_of_a_precision(tmp_path: Path, precision: str, line: str, share: float) -> None:
    text = (engines_folder() / "mgts.toml").read_text().split("[precision")[0]
    (tmp_path / "r.toml").write_text(f"{text}[precision.{precision}]\ntolerance = {{ cosine = 0.9 }}\n{line}\n")
    assert read_recipe(tmp_path / "r.toml").min_share(precision) == share


def test_the_shapes_of_the_profile() -> None:
    inputs = {
        "original": TensorSpec(dtype="float32", shape=("N", 3, 32, 16)),
        "image": TensorSpec(dtype="uint8", shape=(64, 96, 3)),
    }
    profile = load_recipe("mgts").profile
    assert profile_shapes(profile, inputs, "opt") == {"original": (8, 3, 32, 16)}
    assert profile_shapes(profile, inputs, "max") == {"original": (64, 3, 32, 16)}


def test_unknown_models_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no model 'vgg'"):
        load_recipe("vgg")
    with pytest.raises(RecipeError, match="No such file"):
        read_recipe(tmp_path / "none.toml")
