from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
    """A preset of every network in miniature."""
    pytest.importorskip("torch", reason="the networks need PyTorch")
    from training.preset import load_preset

    return load_preset(str(Path(__file__).with_name("tiny.toml")))
