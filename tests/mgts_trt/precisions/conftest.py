import pytest

from tests.helpers.torch_threads import one_torch_thread


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors: more threads only wait for one another."""
    pytest.importorskip("torch", reason="the networks that are converted come from PyTorch")
    with one_torch_thread():
        yield
