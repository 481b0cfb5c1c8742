"""What is written for DeepStream, its keys against those that NVIDIA's parsers know."""

from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import onnx
import pytest

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.deepstream.deepstream_folder import APP, DETECTOR, PARSER, REID, text_of, write_folder
from mgts_trt.errors import BundleError, MgtsError
from tests.helpers.paths import ROOT
from tests.helpers.tiny_bundle import CANVAS, PATCH, make_tiny_bundle

FLAG, NATURAL, POSITIVE, NUMBER, TEXT = "flag", "natural", "positive", "number", "text"

NVINFER = {
    "gie-unique-id": POSITIVE, "process-mode": (1, 2), "interval": NATURAL, "labelfile-path": TEXT, "gpu-id": NATURAL,
    "secondary-reinfer-interval": NATURAL, "output-tensor-meta": FLAG, "enable-dla": FLAG, "use-dla-core": NATURAL,
    "batch-size": POSITIVE, "tensor-meta-pool-size": POSITIVE, "network-mode": (0, 1, 2), "model-engine-file": TEXT,
    "int8-calib-file": TEXT, "workspace-size": NATURAL, "output-blob-names": TEXT, "network-type": (0, 1, 2, 3, 100),
    "force-implicit-batch-dim": FLAG, "infer-dims": TEXT, "output-io-formats": TEXT, "layer-device-precision": TEXT,
    "model-color-format": (0, 1, 2), "net-scale-factor": NUMBER, "offsets": TEXT, "mean-file": TEXT,
    "maintain-aspect-ratio": FLAG, "symmetric-padding": FLAG, "scaling-filter": (0, 1, 2, 3, 4, 5, 6),
    "scaling-compute-hw": (0, 1, 2), "network-input-order": (0, 1), "input-tensor-from-meta": FLAG,
    "custom-lib-path": TEXT, "parse-bbox-func-name": TEXT, "parse-bbox-instance-mask-func-name": TEXT,
    "engine-create-func-name": TEXT, "parse-classifier-func-name": TEXT, "custom-network-config": TEXT,
    "onnx-file": TEXT, "num-detected-classes": POSITIVE, "cluster-mode": (0, 1, 2, 3, 4), "classifier-type": TEXT,
    "classifier-threshold": NUMBER, "classifier-async-mode": FLAG, "segmentation-threshold": NUMBER,
    "segmentation-output-order": (0, 1), "output-instance-mask": FLAG, "input-object-min-width": NATURAL,
    "input-object-min-height": NATURAL, "input-object-max-width": NATURAL, "input-object-max-height": NATURAL,
    "operate-on-gie-id": POSITIVE, "operate-on-class-ids": TEXT, "filter-out-class-ids": TEXT,
}  # fmt: skip
"""Keys of nvinfer's group [property], with what they may be; those of Caffe, UFF and TLT files left out."""
CLASS_ATTRIBUTES = {
    "threshold": NUMBER, "pre-cluster-threshold": NUMBER, "post-cluster-threshold": NUMBER, "eps": NUMBER,
    "group-threshold": NATURAL, "minBoxes": NATURAL, "dbscan-min-score": NUMBER, "roi-top-offset": NATURAL,
    "roi-bottom-offset": NATURAL, "detected-min-w": NATURAL, "detected-min-h": NATURAL, "detected-max-w": NATURAL,
    "detected-max-h": NATURAL, "border-color": TEXT, "bg-color": TEXT, "nms-iou-threshold": NUMBER, "topk": NATURAL,
}  # fmt: skip
GIE = {
    "enable": FLAG, "gpu-id": NATURAL, "batch-size": POSITIVE, "model-engine-file": TEXT, "config-file": TEXT,
    "labelfile-path": TEXT, "plugin-type": (0, 1), "gie-unique-id": POSITIVE, "operate-on-gie-id": POSITIVE,
    "operate-on-class-ids": TEXT, "interval": NATURAL, "infer-raw-output-dir": TEXT, "nvbuf-memory-type": (0, 1, 2, 3),
}  # fmt: skip
APPLICATION = {
    "application": {"enable-perf-measurement": FLAG, "perf-measurement-interval-sec": POSITIVE},
    "tiled-display": {"enable": FLAG, "rows": POSITIVE, "columns": POSITIVE, "width": POSITIVE, "height": POSITIVE},
    "source": {
        "enable": FLAG, "type": (1, 2, 3, 4, 5), "uri": TEXT, "num-sources": POSITIVE, "gpu-id": NATURAL,
        "latency": NATURAL, "drop-frame-interval": NATURAL,
    },
    "sink": {"enable": FLAG, "type": (1, 2, 3, 4, 5, 6), "sync": FLAG, "source-id": NATURAL},
    "streammux": {
        "gpu-id": NATURAL, "live-source": FLAG, "batch-size": POSITIVE, "batched-push-timeout": NATURAL,
        "width": POSITIVE, "height": POSITIVE, "enable-padding": FLAG, "nvbuf-memory-type": (0, 1, 2, 3),
    },
    "primary-gie": GIE,
    "secondary-gie": GIE,
}  # fmt: skip
"""Groups of `deepstream-app`, those of which there are several without their number."""


def faults(text: str, reference: dict[str, dict]) -> Iterator[str]:
    """What in a configuration NVIDIA's reference does not have."""
    parser = ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read_string(text)
    for group in parser.sections():
        keys = reference.get(group) or reference.get(group.rstrip("0123456789"))
        if keys is None:
            yield f"no group {group}"
            continue
        for key, value in parser[group].items():
            kind = keys.get(key)
            fine = {
                None: False,
                FLAG: value in ("0", "1"),
                NATURAL: value.isdecimal(),
                POSITIVE: value.isdecimal() and int(value) > 0,
                NUMBER: value.replace(".", "", 1).isdecimal(),
                TEXT: bool(value),
            }
            if not (value in map(str, kind) if isinstance(kind, tuple) else fine[kind]):
                yield f"[{group}] {key}={value}"


def nvinfer(text: str) -> list[str]:
    return list(faults(text, {"property": NVINFER, "class-attrs-all": CLASS_ATTRIBUTES}))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_tiny_bundle(tmp_path_factory.mktemp("bundle"), ("fp32", "fp16")))


@pytest.mark.parametrize(("precision", "streams"), [("fp32", 1), ("fp16", 4)])
def test_every_key_is_nvidias(bundle: Bundle, tmp_path: Path, precision: str, streams: int) -> None:
    assert write_folder(bundle, tmp_path, precision=precision, streams=streams)
    assert list(faults((tmp_path / APP).read_text(), APPLICATION)) == []
    assert nvinfer((tmp_path / DETECTOR).read_text()) == []
    assert nvinfer((tmp_path / REID).read_text()) == []


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("property", "clustermode", 4), ("property", "cluster-mode", 5), ("property", "batch-size", 0),
        ("property", "net-scale-factor", "one"), ("property", "onnx-file", ""), ("property", "output-tensor-meta", 2),
        ("class-attrs-all", "cluster-mode", 4),
    ],
)  # fmt: skip
def test_a_wrong_key_is_caught(group: str, key: str, value: object) -> None:
    assert nvinfer(text_of({group: {key: value}})) == [f"[{group}] {key}={value}"]


def test_a_wrong_group_is_caught() -> None:
    assert nvinfer(text_of({"properties": {}})) == ["no group properties"]


def test_numbers_are_the_bundles(bundle: Bundle, tmp_path: Path) -> None:
    """Nothing is a second description: sizes, names and threshold of the files are those of manifest and networks."""
    write_folder(bundle, tmp_path, streams=2)
    detector, reid = ConfigParser(), ConfigParser()
    detector.read(tmp_path / DETECTOR)
    reid.read(tmp_path / REID)
    assert detector["property"]["infer-dims"] == f"3;{CANVAS[0]};{CANVAS[1]}"
    assert reid["property"]["infer-dims"] == f"3;{PATCH[0]};{PATCH[1]}"
    assert float(detector["class-attrs-all"]["pre-cluster-threshold"]) == bundle.manifest.thresholds.detection
    assert reid["property"]["operate-on-gie-id"] == detector["property"]["gie-unique-id"]
    for config, batch in ((detector, "2"), (reid, "8")):
        group = config["property"]
        model = onnx.load(tmp_path / group["onnx-file"])
        assert group["output-blob-names"].split(";") == [each.name for each in model.graph.output]
        shape = [each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        assert group["infer-dims"] == ";".join(map(str, shape))
        assert group["batch-size"] == batch
        assert group["model-engine-file"] == f"{group['onnx-file']}_b{batch}_gpu0_fp32.engine"
    classes = (tmp_path / detector["property"]["labelfile-path"]).read_text().split()
    assert (len(classes), detector["property"]["num-detected-classes"]) == (1, "1")
    assert detector["property"]["parse-bbox-func-name"] == PARSER
    assert f"bool {PARSER}(" in (tmp_path / "person_parser.cpp").read_text()
    assert f"{detector['property']['custom-lib-path']}: person_parser.cpp" in (tmp_path / "Makefile").read_text()
    for name in ("person_parser.cpp", "Makefile"):
        assert (tmp_path / name).read_bytes() == (ROOT / "engines" / "deepstream" / name).read_bytes()


def test_without_idnet_there_are_boxes_alone(tmp_path: Path) -> None:
    bundle = Bundle.open(make_tiny_bundle(tmp_path / "bundle", models=("detector", "masknet", "mgts")))
    assert not write_folder(bundle, tmp_path / "out")
    assert not (tmp_path / "out" / REID).exists()
    assert "secondary-gie" not in (tmp_path / "out" / APP).read_text()


def test_what_cannot_be(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(MgtsError, match="not int8"):
        write_folder(bundle, tmp_path, precision="int8")
    write_folder(bundle, tmp_path)
    with pytest.raises(MgtsError, match=r"holds app.txt already.*--force"):
        write_folder(bundle, tmp_path)
    write_folder(bundle, tmp_path, force=True)
    (tmp_path / "file").touch()
    with pytest.raises(MgtsError, match="Cannot write to"):
        write_folder(bundle, tmp_path / "file" / "below")
    joint = Bundle.open(make_tiny_bundle(tmp_path / "joint", models=("joint",)))
    with pytest.raises(BundleError, match="has no detector"):
        write_folder(joint, tmp_path / "none")
