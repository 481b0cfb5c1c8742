"""The readers, on files written here in the layout of the published ones, and on CUHK-SYSU's own `TestG100.mat`."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the protocols are MATLAB files")
from scipy.io import savemat

from mgts_trt.evaluation.metrics import evaluate_search
from tests.helpers.training_scenes import check_scene, save
from training.data.datasets.cuhk_sysu import cuhk_sysu_train
from training.data.datasets.prw import prw_train
from training.data.files import DataError
from training.data.protocols import (
    cuhk_sysu_images,
    cuhk_sysu_queries,
    prw_images,
    prw_queries,
    read_cuhk_sysu_protocol,
)
from training.data.scene import UNKNOWN


def struct_array(fields, rows) -> np.ndarray:
    """A MATLAB struct array 1×N."""
    array = np.zeros((1, len(rows)), [(field, object) for field in fields])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row)
    return array


def cells(values) -> np.ndarray:
    """A MATLAB cell array N×1."""
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


def xywh(*box) -> np.ndarray:
    return np.array([box], np.uint8 if max(box, default=0) < 256 else np.uint16)


EMPTY = np.zeros((1, 0))


def protocol_rows(queries, extra=("ishard",)) -> np.ndarray:
    return struct_array(
        ["Query", "Gallery"],
        [
            (
                struct_array(["imname", "idlocate", "ishard", "idname"], [(image, box, np.array([[0]]), f"p{i}")]),
                struct_array(
                    ["imname", "idlocate", *extra], [(name, seen, *[EMPTY for _ in extra]) for name, seen in gallery]
                ),
            )
            for i, (image, box, gallery) in enumerate(queries)
        ],
    )


QUERIES = [
    ("s5.jpg", xywh(200, 10, 100, 50), [("s6.jpg", xywh(1, 2, 3, 4)), ("s7.jpg", EMPTY)]),
    ("s7.jpg", xywh(300, 10, 20, 50), [("s5.jpg", xywh(7, 7, 7, 7)), ("s6.jpg", EMPTY)]),
]


@pytest.fixture
def cuhk_sysu(tmp_path: Path) -> Path:
    """Training images s1, s2 and s10; test images s5, s6 and s7."""
    parts = tmp_path / "annotation" / "test" / "train_test"
    parts.mkdir(parents=True)
    savemat(parts / "TestG50.mat", {"TestG50": protocol_rows(QUERIES)})
    savemat(parts / "TestG100.mat", {"TestG100": protocol_rows(QUERIES, extra=())})
    people = {
        "s10.jpg": [xywh(5, 5, 10, 10)],
        "s1.jpg": [xywh(0, 0, 4, 8), xywh(9, 9, 0, 8)],
        "s2.jpg": [xywh(1, 1, 4, 8), xywh(250, 1, 40, 80)],
        "s5.jpg": [xywh(7, 7, 7, 7), xywh(200, 10, 100, 50)],
        "s6.jpg": [xywh(1, 2, 3, 4), xywh(9, 9, 9, 9)],
        "s7.jpg": [xywh(300, 10, 20, 50)],
    }
    images = [
        (name, np.array([[len(boxes)]]), struct_array(["idlocate", "ishard"], [(box, EMPTY) for box in boxes]))
        for name, boxes in people.items()
    ]
    savemat(tmp_path / "annotation" / "Images.mat", {"Img": struct_array(["imname", "nAppear", "box"], images)})
    savemat(tmp_path / "annotation" / "pool.mat", {"pool": cells(["s6.jpg", "s5.jpg", "s7.jpg"])})
    write_train(
        tmp_path, [("s2.jpg", xywh(250, 1, 40, 80)), ("s1.jpg", xywh(0, 0, 4, 8))], [("s10.jpg", xywh(5, 5, 10, 10))]
    )
    for name in ("s1.jpg", "s2.jpg", "s10.jpg"):
        save(tmp_path / "Image" / "SSM" / name, 70, 280)
    return tmp_path


def write_train(folder: Path, *scenes_of_person) -> None:
    rows = [
        struct_array(
            ["idname", "nAppear", "scene"],
            [(f"p{i}", np.array([[2]]), struct_array(["imname", "idlocate", "ishard"], [(*s, EMPTY) for s in scenes]))],
        )
        for i, scenes in enumerate(scenes_of_person)
    ]
    savemat(folder / "annotation" / "test" / "train_test" / "Train.mat", {"Train": cells(rows)})


@pytest.mark.parametrize("size", [50, 100])
def test_cuhk_sysu_queries(cuhk_sysu: Path, size: int) -> None:
    first, second = cuhk_sysu_queries(cuhk_sysu, size)
    assert (first.image, first.identity, first.camera) == ("s5.jpg", 0, UNKNOWN)
    np.testing.assert_array_equal(first.box, [200, 10, 300, 60])  # 200 + 100 does not fit the file's uint8
    assert first.box.dtype == np.float32
    assert [name for name, _ in first.gallery] == ["s6.jpg", "s7.jpg"]
    np.testing.assert_array_equal(first.gallery[0][1], [1, 2, 4, 6])
    assert first.gallery[1][1] is None
    assert second.identity == 1


def test_cuhk_sysu_training_images(cuhk_sysu: Path) -> None:
    images = cuhk_sysu_images(cuhk_sysu, "train")
    assert [image.image for image in images] == ["s1.jpg", "s2.jpg", "s10.jpg"]
    assert [image.identities.tolist() for image in images] == [[0], [UNKNOWN, 0], [1]]
    np.testing.assert_array_equal(images[0].boxes, [[0, 0, 4, 8]])  # without the box that has no area
    np.testing.assert_array_equal(images[1].boxes, [[1, 1, 5, 9], [250, 1, 290, 81]])


def test_cuhk_sysu_training_scenes(cuhk_sysu: Path) -> None:
    scenes = cuhk_sysu_train(cuhk_sysu)
    assert scenes.identity_count == 2
    assert [scene.name for scene in scenes] == ["s1.jpg", "s2.jpg", "s10.jpg"]
    assert [scene.identities.tolist() for scene in scenes] == [[0], [UNKNOWN, 0], [1]]
    for scene in scenes:
        check_scene(scene)
    assert scenes[1].boxes.tolist() == [[1, 1, 5, 9], [250, 1, 280, 70]]  # the second leaves the picture


def test_cuhk_sysu_test_images(cuhk_sysu: Path) -> None:
    images = cuhk_sysu_images(cuhk_sysu, "test")
    assert [image.image for image in images] == ["s6.jpg", "s5.jpg", "s7.jpg"]
    assert [image.identities.tolist() for image in images] == [[0, UNKNOWN], [1, 0], [1]]


def test_a_labelled_box_nobody_described_is_left_out_aloud(cuhk_sysu: Path) -> None:
    write_train(cuhk_sysu, [("s2.jpg", xywh(1, 1, 4, 8)), ("s2.jpg", xywh(1, 1, 4, 9)), ("s5.jpg", xywh(7, 7, 7, 7))])
    with pytest.warns(UserWarning, match=r"2 labelled boxes of .*Train\.mat .*the first is in s2\.jpg"):
        images = cuhk_sysu_images(cuhk_sysu, "train")
    assert [image.identities.tolist() for image in images] == [[UNKNOWN], [0, UNKNOWN], [UNKNOWN]]


@pytest.mark.parametrize(
    ("name", "box", "message"),
    [
        ("s1.jpg", (1, 2, 3, 4), r"Train\.mat .*first is in s1\.jpg: \[1\.0, 2\.0, 4\.0, 6\.0\] \(xyxy\) of row 2"),
        ("s5.jpg", (7, 7, 7, 7), r"1 labelled boxes of .*Train\.mat .*in s5\.jpg.*pool\.mat, from the same release"),
    ],
)
def test_training_scenes_refuse_a_labelled_box_nobody_described(cuhk_sysu: Path, name, box, message) -> None:
    write_train(cuhk_sysu, [("s1.jpg", xywh(0, 0, 4, 8))], [(name, xywh(*box))])
    with pytest.raises(DataError, match=message):
        cuhk_sysu_train(cuhk_sysu)


@pytest.fixture
def prw(tmp_path: Path) -> Path:
    """Test frames of cameras 1 and 2 with the persons 479 and 481, whose identities are 1 and 0."""
    (tmp_path / "annotations").mkdir()
    frames = {
        "c1s1_000001": ("box_new", [[479, 10.5, 20, 30, 40], [-2, 1, 1, 5, 5]]),
        "c1s1_000002": ("anno_file", [[479, 11, 20, 30, 40], [481, -5, 0, 20, 30]]),
        "c2s1_000003": (
            "anno_previous",
            [[479, 12, 20, 30, 40], [479, 50, 50, 9, 9], [481, 7, 7, 0, 9], [3, 1, 1, 2, 2]],
        ),
        "c2s3_000004": ("box_new", [[481, 1, 2, 3, 4]]),
    }
    for name, (key, rows) in frames.items():
        savemat(tmp_path / "annotations" / f"{name}.jpg.mat", {key: np.array(rows, np.float64)})
    savemat(tmp_path / "frame_test.mat", {"img_index_test": cells(list(frames))})
    savemat(tmp_path / "frame_train.mat", {"img_index_train": cells(["c2s1_000003"])})
    save(tmp_path / "frames" / "c2s1_000003.jpg", 56, 57)
    savemat(tmp_path / "ID_train.mat", {"ID_train": np.array([[1, 3]])})
    savemat(tmp_path / "ID_test2.mat", {"ID_test2": np.array([[481, 479]])})
    (tmp_path / "query_info.txt").write_bytes(
        b"479 10.5 20 30 40 c1s1_000001\r\n481 1 2 3 4 c2s3_000004\r\n479 12 20 30 40 c2s1_000003\r\n"
    )
    return tmp_path


def test_prw_images(prw: Path) -> None:
    images = prw_images(prw, "test")
    assert [image.camera for image in images] == [1, 1, 2, 2]
    assert [image.identities.tolist() for image in images] == [[1, UNKNOWN], [1, 0], [1, 1, UNKNOWN], [0]]
    np.testing.assert_array_equal(images[0].boxes, [[10.5, 20, 40.5, 60], [1, 1, 6, 6]])
    np.testing.assert_array_equal(images[1].boxes[1], [0, 0, 15, 30])
    (trained,) = prw_images(prw, "train")
    assert (trained.image, trained.identities.tolist()) == ("c2s1_000003.jpg", [UNKNOWN, UNKNOWN, 1])


def test_prw_training_scenes(prw: Path) -> None:
    scenes = prw_train(prw)
    assert (len(scenes), scenes.identity_count) == (1, 2)
    scene = scenes[0]
    check_scene(scene)
    assert (scene.name, scene.camera) == ("c2s1_000003.jpg", 2)
    assert scene.boxes.tolist() == [[12, 20, 42, 56], [50, 50, 57, 56], [1, 1, 3, 3]]
    assert scene.identities.tolist() == [UNKNOWN, UNKNOWN, 1]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: (p / "frames" / "c2s1_000003.jpg").unlink(), r"no picture .*c2s1_000003\.jpg"),
        (lambda p: (p / "ID_train.mat").unlink(), r"ID_train\.mat is missing"),
        (
            lambda p: savemat(p / "frame_train.mat", {"img_index_train": cells(["x1"])}),
            r"frame_train\.mat .*row 1.*'x1'",
        ),
        (lambda p: savemat(p / "frame_train.mat", {"img_index_train": cells([])}), r"list no picture of .*frames"),
        (
            lambda p: savemat(p / "annotations" / "c2s1_000003.jpg.mat", {"box_new": np.ones((5, 4))}),
            r"c2s1_000003\.jpg\.mat is not .*rows of 4",
        ),
        (
            lambda p: savemat(p / "annotations" / "c2s1_000003.jpg.mat", {"x": 1}),
            r"c2s1_000003\.jpg\.mat .*holds x, not box_new or anno_file",
        ),
    ],
)
def test_prw_training_scenes_name_the_broken_file(prw: Path, harm, message) -> None:
    harm(prw)
    with pytest.raises(DataError, match=message):
        prw_train(prw)


def test_a_prw_frame_without_people(prw: Path) -> None:
    savemat(prw / "annotations" / "c2s1_000003.jpg.mat", {"box_new": np.zeros((0, 0))})
    assert len(prw_images(prw, "train")[0].boxes) == 0


def test_prw_galleries_leave_the_querys_own_frame_out(prw: Path) -> None:
    first, second, third = prw_queries(prw)
    assert (first.image, first.identity, first.camera) == ("c1s1_000001.jpg", 1, 1)
    np.testing.assert_array_equal(first.box, [10.5, 20, 40.5, 60])
    assert [(name, None if box is None else box.tolist()) for name, box in first.gallery] == [
        ("c1s1_000002.jpg", [11, 20, 41, 60]),
        ("c2s1_000003.jpg", [12, 20, 42, 60]),
        ("c2s3_000004.jpg", None),
    ]
    assert [name for name, box in second.gallery if box is not None] == ["c1s1_000002.jpg"]
    assert [name for name, box in third.gallery] == ["c1s1_000001.jpg", "c1s1_000002.jpg", "c2s3_000004.jpg"]


def test_prw_galleries_of_other_cameras(prw: Path) -> None:
    queries = prw_queries(prw, cross_camera=True, images=prw_images(prw, "test"))
    assert [[name for name, _ in query.gallery] for query in queries] == [
        ["c2s1_000003.jpg", "c2s3_000004.jpg"],
        ["c1s1_000001.jpg", "c1s1_000002.jpg"],
        ["c1s1_000001.jpg", "c1s1_000002.jpg"],
    ]


def test_prw_identities_under_their_other_name(prw: Path) -> None:
    (prw / "ID_test2.mat").rename(prw / "ID_test.mat")
    assert [query.identity for query in prw_queries(prw)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("part", "read"),
    [
        ("annotation/test/train_test/TestG100.mat", cuhk_sysu_queries),
        ("annotation/test/train_test/TestG50.mat", lambda folder: cuhk_sysu_images(folder, "test")),
        ("annotation/test/train_test/Train.mat", lambda folder: cuhk_sysu_images(folder, "train")),
        ("annotation/Images.mat", lambda folder: cuhk_sysu_images(folder, "train")),
        ("annotation/pool.mat", lambda folder: cuhk_sysu_images(folder, "train")),
    ],
)
@pytest.mark.parametrize("harm", ["missing", "another variable", "another layout", "text", "cut"])
def test_cuhk_sysu_files_that_are_wrong_are_named(cuhk_sysu: Path, part, read, harm) -> None:
    refused(cuhk_sysu / part, harm, lambda: read(cuhk_sysu))


@pytest.mark.parametrize(
    "part",
    ["query_info.txt", "frame_test.mat", "ID_test2.mat", "annotations/c1s1_000002.jpg.mat"],
)
@pytest.mark.parametrize("harm", ["missing", "another variable", "another layout", "text", "cut"])
def test_prw_files_that_are_wrong_are_named(prw: Path, part, harm) -> None:
    refused(prw / part, harm, lambda: prw_queries(prw))


def refused(file: Path, harm: str, read) -> None:
    variable = {"Images": "Img", "pool": "pool", "c1s1_000002.jpg": "box_new", "frame_test": "img_index_test"}
    if harm == "missing":
        file.unlink()
    elif harm == "another variable":
        savemat(file, {"other": np.ones((2, 2))}, appendmat=False)
    elif harm == "another layout":
        savemat(file, {variable.get(file.stem, file.stem): cells(["a", 1.5])}, appendmat=False)
    elif harm == "text":
        file.write_text("not found\n")
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=r"is missing|is not ") as error:
        read()
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("479 1 2 3 c1s1_000001", "line 1 is '479 1 2 3 c1s1_000001'"),
        ("5 1 2 3 4 c1s1_000001", "not a test identity"),
        ("479 1 2 3 4 frame1", "frame 'frame1' is not named like"),
    ],
)
def test_prw_queries_that_are_wrong_are_quoted(prw: Path, line: str, message: str) -> None:
    (prw / "query_info.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        prw_queries(prw)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: (p / "Image" / "SSM" / "s2.jpg").unlink(), r"no picture .*s2\.jpg"),
        (
            lambda p: savemat(p / "annotation" / "pool.mat", {"lake": cells(["s5.jpg"])}),
            r"pool\.mat .*holds lake, not pool",
        ),
        (
            lambda p: savemat(p / "annotation" / "Images.mat", {"Img": struct_array(["name"], [("s1.jpg",)])}),
            r"Images\.mat .*row 1: .*imname|Images\.mat .*row 1: .*box",
        ),
    ],
)
def test_cuhk_sysu_training_scenes_name_the_broken_file(cuhk_sysu: Path, harm, message) -> None:
    harm(cuhk_sysu)
    with pytest.raises(DataError, match=message):
        cuhk_sysu_train(cuhk_sysu)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_pool_that_names_other_images(cuhk_sysu: Path, split) -> None:
    savemat(cuhk_sysu / "annotation" / "pool.mat", {"pool": cells(["s99.jpg"])})
    with pytest.raises(DataError, match=r"names s99\.jpg, which .*Images\.mat does not describe"):
        cuhk_sysu_images(cuhk_sysu, split)


def test_a_gallery_size_that_is_not_published(cuhk_sysu: Path) -> None:
    with pytest.raises(DataError, match=r"no galleries of 60 images\. Choose one of 50, 100"):
        cuhk_sysu_queries(cuhk_sysu, 60)


def test_the_published_protocol(shared_data: Path) -> None:
    """The paper's numbers of queries and images, and a perfect system's score on them."""
    queries = read_cuhk_sysu_protocol(shared_data / "cuhk_sysu" / "TestG100.mat")
    assert len(queries) == 2900
    assert {len(query.gallery) for query in queries} == {100}
    assert len({name for query in queries for name, _ in query.gallery}) == 6978
    assert sum(box is not None for query in queries for _, box in query.gallery) == 5447

    looks = np.random.default_rng(0).normal(size=(len(queries), 64)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    people = {name: {} for query in queries for name, _ in query.gallery}
    for query in queries:
        for name, box in query.gallery:
            if box is not None:
                people[name][(*box.tolist(), query.identity)] = looks[query.identity]
    detections = {
        name: (np.array([key[:4] for key in of_image]), np.array(list(of_image.values())))
        for name, of_image in people.items()
    }
    result = evaluate_search(looks, [query.gallery for query in queries], detections)
    assert result.counted == 2900
    np.testing.assert_array_equal(result.found, result.ground_truths)
    # Three galleries list an image twice, once for each of two boxes of the person: each then counts against the other.
    assert np.flatnonzero(result.average_precisions < 1 - 1e-9).tolist() == [1633, 1997, 2561]
