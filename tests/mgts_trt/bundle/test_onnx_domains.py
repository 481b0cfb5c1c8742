import onnx
import pytest
from onnx import helper, parser

from mgts_trt.bundle import operators
from mgts_trt.bundle.onnx_domains import calls_operators, imported_domains
from mgts_trt.errors import OnnxError

TEXT = """<ir_version: 10, opset_import: [{}], producer_name: "a name", model_version: 300>
    network (float[1, 7, 4] boxes) => (float[1, 7] y) {{ {} }}"""
NMS = "y = mgts.Nms <threshold = 0.5> (boxes)"


@pytest.fixture
def file(tmp_path):
    def save(domains, nodes):
        model = parser.parse_model(TEXT.format(", ".join(f'"{name}": 20' for name in domains), nodes))
        if "mgts" in domains:
            operators.add_functions(model)
        model.metadata_props.add(key="note", value="x" * 200)
        onnx.save(model, tmp_path / "network.onnx")
        return tmp_path / "network.onnx"

    return save


@pytest.mark.parametrize("domains", [[""], ["", "mgts"], ["own", "", "mgts"], ["ai.onnx.ml", ""]])
def test_domains_are_those_that_onnx_reads(file, domains):
    path = file(domains, NMS if "mgts" in domains else "y = ReduceMax <keepdims = 0> (boxes)")
    assert imported_domains(path) == {entry.domain for entry in onnx.load(path).opset_import} == set(domains)
    assert calls_operators(path) == ("mgts" in domains)


def test_the_name_alone_calls_nothing(file, tmp_path):
    model = onnx.load(file([""], "y = ReduceMax <keepdims = 0> (boxes)"))
    model.graph.doc_string = helper.make_opsetid("mgts", 1).SerializeToString().decode("latin1")
    model.producer_name = "mgts"
    onnx.save(model, tmp_path / "other.onnx")
    assert not calls_operators(tmp_path / "other.onnx")


@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: b"\xff" * 40, lambda data: b"{" + data])
def test_what_is_no_model(file, spoil):
    path = file(["", "mgts"], NMS)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(OnnxError, match=r"Cannot read .*network\.onnx: it is .*no ONNX model\. Export it again"):
        imported_domains(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(OnnxError, match="No such file"):
        imported_domains(tmp_path / "nothing.onnx")
