"""Which modes a bundle holds, and which one is meant where none is named."""

from pathlib import Path

import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.errors import BackendError, BundleError
from mgts_trt.runtime.modes import default_mode, held_modes, require_mode
from mgts_trt.runtime.pipeline import PersonSearch
from tests.helpers.tiny_bundle import make_tiny_bundle

ALL = ("detector", "masknet", "mgts", "idnet")


@pytest.mark.parametrize(
    ("models", "held", "default"),
    [
        (ALL, ("none", "net", "box"), "net"),
        (("detector", "mgts", "idnet"), ("none", "box"), "box"),
        (("detector", "masknet", "idnet"), ("none",), "none"),
    ],
)
def test_the_mode_follows_from_the_models(models, held, default, tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path, models=models))
    assert held_modes(bundle.manifest) == held
    assert held_modes(bundle.manifest, "fp16") == ()
    assert default_mode(bundle) == default
    with PersonSearch(bundle, backend="onnxruntime") as search:
        assert search.mode == default


def test_a_bundle_of_no_mode_says_so(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path, models=["masknet"]))
    with pytest.raises(BundleError, match="holds masknet, too few for any mode"):
        default_mode(bundle)
    with pytest.raises(BundleError, match=r"no detector and no idnet, which mode none runs; .*Export it again"):
        require_mode(bundle, "none")


def test_refuses_a_mode_the_bundle_lacks(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path, models=["detector", "idnet"]))
    with pytest.raises(BundleError, match=r"no masknet and no mgts, which mode net runs; .*Take --mode none"):
        PersonSearch(bundle, mode="net")
    with pytest.raises(BackendError, match="no mode 'box1'; the modes are none, net, box"):
        PersonSearch(bundle, mode="box1")  # type: ignore[arg-type]
