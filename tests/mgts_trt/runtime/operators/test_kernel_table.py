import pytest

from mgts_trt.bundle.operators import OPERATORS
from mgts_trt.errors import BackendError
from mgts_trt.plans.chain import OperatorStep
from mgts_trt.runtime.operators.kernel_table import KERNELS, kernel_of
from mgts_trt.runtime.operators.se_head import SeHead


def step(operator, **attributes):
    return OperatorStep(operator=operator, node="/it", inputs=("a",), outputs=("b",), attributes=attributes)


def test_the_operators_and_they_alone_have_kernels():
    assert set(KERNELS) == set(OPERATORS)


def test_a_kernel_has_the_attributes_of_its_step():
    assert isinstance(kernel_of(step("SeHead")), SeHead)


def test_an_operator_without_a_kernel():
    with pytest.raises(BackendError, match=r"no kernel for the operator Fft \(/it\); there are .*SeHead"):
        kernel_of(step("Fft"))


def test_attributes_that_a_kernel_does_not_take():
    with pytest.raises(BackendError, match=r"SeHead \(/it\).*unexpected keyword argument 'size'"):
        kernel_of(step("SeHead", size=7))
