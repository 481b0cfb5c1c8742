import re
import tomllib
from types import SimpleNamespace

import pytest

from mgts_trt.cli.gpu_findings import plan_fitness
from mgts_trt.machine.gpus import Gpu
from mgts_trt.machine.installation import checkout
from tests.helpers.doctor_machines import MACHINES, TEXT, findings, text

EXTRA = re.compile(r"mgts-trt\[([\w-]+)\]")


def test_what_is_said_of_each_machine():
    assert text() == TEXT.read_text(encoding="utf-8"), "see tests/helpers/doctor_machines.py"


@pytest.mark.parametrize("name", MACHINES)
def test_every_answer_helps(name):
    project = tomllib.loads((checkout() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = findings(MACHINES[name])
    assert {finding.area for finding in found} == {"GPU", "TensorRT"} or name == "Orin, JetPack 5"
    for finding in found:
        assert finding.cure or finding.state != "problem"
        assert set(EXTRA.findall(finding.cure or "")) <= set(project["optional-dependencies"])
        if MACHINES[name].jetson:
            assert set(EXTRA.findall(finding.cure or "")) <= {"jetson"}, "JetPack brings its own TensorRT"


@pytest.mark.parametrize(
    ("precision", "flavour", "warned"),
    [("int8", "tensorrt_rtx", True), ("fp16", "tensorrt_rtx", False), ("int8", "tensorrt", False)],
)
def test_int8_on_rtx_is_not_trusted(precision, flavour, warned):
    identity = SimpleNamespace(target="sm_86", precision=precision, flavour=flavour)
    fitness, *more = plan_fitness("p", identity, [Gpu("A4000", (8, 6))])
    assert (fitness.state, fitness.text) == ("ok", "p is whole and runs on A4000")
    assert bool(more) is warned
    assert all("INT8 may gain nothing" in finding.text for finding in more)
