from pathlib import Path

import numpy as np
import pytest

from mgts_trt.errors import MgtsError
from tests.helpers.cell_scenes import Listed
from tests.helpers.small_graphs import node, save_graph
from training.data.datasets.reid_splits import crop_set_held_out
from training.data.scene import Scene
from training.evaluation.peer import Peer, PeerError, peer_reid


@pytest.fixture(params=["N", 1], ids=["any batch", "one at a time"])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The mean colour of a crop, as torchreid's networks end: [N, 3]."""
    mean = node("ReduceMean", "crops axes", "y", keepdims=0)
    axes = {"axes": np.array([2, 3], np.int64)}
    return save_graph(tmp_path / "mean.onnx", [mean], {"crops": [request.param, 3, 16, 8]}, axes)


def crop(name: str, colour: tuple[int, int, int], identity: int, camera: int) -> Scene:
    """A person of one colour in the middle of a grey picture."""
    image = np.full((40, 30, 3), 128, np.uint8)
    image[8:32, 9:21] = colour
    return Scene(name, image, np.array([[9, 8, 21, 32]], np.float32), np.array([identity]), camera=camera)


def test_what_it_sees_is_the_box_normalised(network: Path) -> None:
    peer = Peer(network)
    seen = peer.inputs(crop("a", (255, 0, 128), 0, 1))["crops"]
    assert (seen.shape, seen.dtype) == ((1, 3, 16, 8), np.float32)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(seen[0].mean(axis=(1, 2)), expected, rtol=1e-5)
    assert np.ptp(seen, axis=(2, 3)).max() < 1e-6
    rows = peer.describe({"crops": np.concatenate([seen, 2 * seen, -seen])})
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(rows @ rows[0], [1, 1, -1], rtol=1e-5)


def test_it_is_ranked_as_a_bundle_is(network: Path) -> None:
    colours = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]
    scenes = Listed([crop(f"{p}{c}", colours[p], p, c) for p in range(3) for c in (1, 2)])
    steps: list[None] = []
    result = peer_reid(Peer(network), scenes, on_step=lambda: steps.append(None))
    assert (result.mean_average_precision, result.cmc(1), result.counted) == (1, 1, 6)
    assert len(steps) == 6


@pytest.mark.parametrize("shape", [["N", 1, 16, 8], ["N", 3, "H", "W"], ["N", 3]])
def test_another_kind_of_network(tmp_path: Path, shape: list[int | str]) -> None:
    path = save_graph(tmp_path / "other.onnx", [node("Relu", "crops", "y")], {"crops": shape})
    with pytest.raises(PeerError, match=r"one input \[N, 3, H, W\]") as caught:
        Peer(path)
    assert isinstance(caught.value, MgtsError)


@pytest.mark.parametrize("content", [None, b"", b"no graph"])
def test_no_network(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "gone.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PeerError, match=r"gone\.onnx cannot be opened"):
        Peer(path)


def test_osnet_on_held_out_people(shared_data: Path) -> None:
    """As measured once: GRID's held-out people, all of both cameras in the gallery."""
    peer = Peer(shared_data / "models/osnet_x0_25_msmt17/osnet_x0_25_msmt17.onnx")
    result = peer_reid(peer, crop_set_held_out(shared_data / "reid_mix", "grid"))
    assert result.counted == 84
    assert result.mean_average_precision == pytest.approx(0.419, abs=0.01)
    assert result.cmc(1) == pytest.approx(0.274, abs=0.03)
