import pytest

from tests.helpers.torch_threads import one_torch_thread


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors: more threads only wait for one another."""
    with one_torch_thread():  # presets are tested without PyTorch
        yield
