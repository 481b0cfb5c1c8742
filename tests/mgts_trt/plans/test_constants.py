import numpy as np
import pytest

from mgts_trt.errors import PlanError
from mgts_trt.machine.files import file_sha256
from mgts_trt.plans.chain import CONSTANTS
from mgts_trt.plans.constants import load_constants, save_constants
from tests.helpers.plan_files import CONSTANT, cut_chain, identity, whole_chain


def test_they_come_back_under_their_names(tmp_path):
    chain = cut_chain(identity(), tmp_path)
    assert chain.constants_sha256 == file_sha256(tmp_path / CONSTANTS)
    [(name, array)] = load_constants(tmp_path, chain).items()
    assert (name, array.dtype) == ("fc", np.float32)
    np.testing.assert_array_equal(array, CONSTANT)


def test_names_of_every_kind_and_the_same_bytes_again(tmp_path):
    arrays = {name: CONSTANT.astype(np.float16) for name in ("file", "/a/b:0", "ä", "a.npy", "../x")}
    digests = {save_constants(tmp_path, arrays) for _ in range(2)}
    assert len(digests) == 1
    small = cut_chain(identity(), tmp_path.parent)
    tensors = dict.fromkeys(arrays, small.tensors["fc"])
    chain = small.model_copy(update={"constants": tuple(arrays), "tensors": tensors})
    loaded = load_constants(tmp_path, chain)
    assert list(loaded) == list(arrays)
    assert all((array == CONSTANT).all() and array.dtype == np.float32 for array in loaded.values())


def test_no_constants_no_file(tmp_path):
    assert save_constants(tmp_path, {}) is None
    assert not list(tmp_path.iterdir())
    assert load_constants(tmp_path, whole_chain(identity())) == {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / CONSTANTS).unlink(), "No such file"),
        (lambda folder: (folder / CONSTANTS).write_bytes(b"PK half"), "Cannot read"),
        (lambda folder: save_constants(folder, {"other": CONSTANT}), "Cannot read"),
        (lambda folder: save_constants(folder, {"fc": CONSTANT[0]}), r"fc is float32 \[3\], expected float32 \[2, 3\]"),
    ],
)
def test_what_cannot_be_read(tmp_path, spoil, message):
    chain = cut_chain(identity(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(PlanError, match=rf"{message}.*mgts-trt build"):
        load_constants(tmp_path, chain)
