import numpy as np
import pytest

from mgts_trt.errors import ImageError
from tests.helpers.crop_sets import save_crop_set
from tests.helpers.training_scenes import check_scene
from training.data.datasets.reid_mix import TABLE, ReidMix
from training.data.files import DataError


@pytest.fixture
def folder(tmp_path):
    return save_crop_set(
        tmp_path, [("grid", "grid_b", 4), ("grid", "grid_a", 1), ("prid", "prid_a", 1), ("grid", "grid_a", 2)]
    )


def test_one_set_of_several(folder):
    crops = ReidMix(folder, "grid")
    assert crops.names == ["grid_a", "grid_b"]
    assert (crops.identities.tolist(), crops.cameras.tolist()) == ([1, 0, 0], [4, 1, 2])
    for number, (identity, camera) in enumerate(zip((1, 0, 0), (4, 1, 2), strict=True)):
        scene = crops[number]
        check_scene(scene)
        assert (scene.identities.tolist(), scene.camera) == ([identity], camera)
        assert scene.boxes.tolist() == [[0, 0, 12, 24]]
        assert scene.instances is None
    assert crops.files_of([0, 2]) == {crops.paths[0], crops.paths[2]}
    assert len({crops[n].name for n in range(3)}) == 3


def test_people_may_be_chosen_and_numbered(folder):
    crops = ReidMix(folder, "grid", ["grid_x", "grid_a"])
    assert crops.identity_count == 2
    assert crops.identities.tolist() == [1, 1]
    assert crops.cameras.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (None, r"no file .*reid\.csv"),
        (b"", "no column 'file'"),
        (b"file,set,cam\n", "no column 'pid'"),
        (b"file,set,pid,cam\na.jpg,grid,g1,one\n", "line 2.*'one'"),
        (b"file,set,pid,cam\na.jpg,grid,g1\n", "line 2.*None"),
        (b"file,set,pid,cam\na.jpg,grid,g1,\n", "line 2: a file, a set, a pid and a camera's number"),
        (b"file,set,pid,cam\na.jpg,grid,g1,-1\n", "line 2.*'-1'"),
        (
            b"file,set,pid,cam\na.jpg,grid,g1,1\nb.jpg,prid,g1,1\n",
            "line 3: the pid g1 is of the set prid here",
        ),
        (b"file,set,pid,cam\na.jpg,prid,g1,1\n", "no crop of the set 'grid'"),
        (b"\xff\xfe", "cannot be read as text"),
    ],
)
def test_a_table_that_is_wrong(folder, table, says):
    (folder / TABLE).unlink()
    if table is not None:
        (folder / TABLE).write_bytes(table)
    with pytest.raises(DataError, match=says):
        ReidMix(folder, "grid")


def test_a_crop_that_is_gone(folder):
    crops = ReidMix(folder, "grid")
    crops.paths[1].unlink()
    with pytest.raises(ImageError, match="grid_a_c1"):
        crops[1]


def test_real(shared_data):
    crops = ReidMix(shared_data / "reid_mix", "grid")
    assert (len(crops), crops.identity_count) == (500, 250)
    for number in np.linspace(0, 499, 5).astype(int):
        check_scene(crops[number])
