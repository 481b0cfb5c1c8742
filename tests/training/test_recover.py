from pathlib import Path

import numpy as np
import pytest

from mgts_trt.bundle.bundle import Bundle
from tests.helpers.paths import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint  # noqa: E402
from training.models import create  # noqa: E402
from training.preset import load_preset  # noqa: E402
from training.recover import recover  # noqa: E402


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(ROOT / "bundle")


@pytest.mark.parametrize("model", ["mgts", "idnet"])
def test_what_is_recovered_gives_what_the_file_gives(bundle: Bundle, tmp_path: Path, model: str) -> None:
    preset = load_preset("edge")
    save_checkpoint(tmp_path / "x.safetensors", recover(bundle, model, preset), model=model, preset="edge")
    network = create(model, preset)
    load_checkpoint(tmp_path / "x.safetensors", network, model=model, preset="edge")
    network.eval()
    session = onnxruntime.InferenceSession(str(bundle.model_path(model, "fp32")))
    patches = np.random.default_rng(0).normal(size=(len(session.get_inputs()), 2, 3, *preset.patch)).astype(np.float32)
    (theirs,) = session.run(None, {each.name: patches[i] for i, each in enumerate(session.get_inputs())})
    with torch.no_grad():
        mine = network(*map(torch.from_numpy, patches))
    mine = torch.nn.functional.normalize(mine, dim=1).numpy()
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_detector_and_mask_net_are_recovered_whole(bundle: Bundle) -> None:
    for model in ("detector", "masknet"):
        network = recover(bundle, model, load_preset("edge"))
        assert not network.training
        assert all(value.isfinite().all() for value in network.state_dict().values())


def test_of_another_preset(bundle: Bundle) -> None:
    with pytest.raises(CheckpointError, match="Name the preset the bundle was made by"):
        recover(bundle, "idnet", load_preset(str(ROOT / "tests/helpers/tiny.toml")))
