import pytest

from tests.helpers.machines import Gpu, Host


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def machine(request):
    """What runs the launches."""
    return Host() if request.param == "host" else Gpu()
