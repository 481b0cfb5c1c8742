import pytest

from mgts_trt.bundle.manifest import BundleFile, Model
from mgts_trt.bundle.recipe import Profile, load_recipe
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.errors import BuildError
from mgts_trt.plans.batch import at_batch, plan_batch, plan_profile, require_batch


def model(**inputs):
    file = BundleFile(file="a.onnx", bytes=1, sha256="a" * 64)
    specs = {name: TensorSpec(dtype="uint8", shape=shape) for name, shape in inputs.items()}
    return Model(files={"fp32": file}, inputs=specs, outputs={}, recipe_sha256="b" * 64)


MANY, ONE, PEOPLE = model(image=("B", 64, 96, 3)), model(image=(1, 64, 96, 3)), model(original=("N", 3, 8, 4))


@pytest.mark.parametrize(("entry", "batch"), [(MANY, 4), (ONE, 1), (PEOPLE, 1)])
def test_only_models_of_many_pictures_have_plans_for_more_than_one(entry, batch):
    assert plan_batch(entry, 4) == batch
    assert plan_batch(entry, 1) == 1


def test_a_model_of_one_picture_is_not_built_for_more():
    require_batch("detector", MANY, 4)
    require_batch("detector", ONE, 1)
    require_batch("mgts", PEOPLE, 4)
    with pytest.raises(BuildError, match=r"detector takes one picture.*uint8 \[1, 64, 96, 3\].*--batch 1"):
        require_batch("detector", ONE, 4)
    for batch in (0, 65):
        with pytest.raises(BuildError, match=rf"batch of {batch}.*1 to 64"):
            require_batch("detector", MANY, batch)


def test_for_one_picture_the_dimension_is_fixed_and_for_more_it_has_a_profile():
    assert at_batch(MANY.inputs, 1) == ONE.inputs
    assert at_batch(MANY.inputs, 4) == MANY.inputs
    assert at_batch(PEOPLE.inputs, 1) == PEOPLE.inputs
    assert plan_profile(load_recipe("detector"), ONE.inputs, 1) == {}
    assert plan_profile(load_recipe("detector"), MANY.inputs, 4) == {"B": Profile(min=1, opt=4, max=4)}
    assert plan_profile(load_recipe("mgts"), PEOPLE.inputs, 1) == {"N": load_recipe("mgts").profile["N"]}
