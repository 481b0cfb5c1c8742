import pytest


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors: more threads only wait for one another."""
    try:
        import torch
    except ModuleNotFoundError:  # presets are tested without it
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
