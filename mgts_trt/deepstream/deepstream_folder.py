"""The folder that `deepstream-app` is started in: everything in it is made of what the bundle says."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.onnx_graph import load_onnx
from mgts_trt.bundle.recipe import engines_folder, load_recipe
from mgts_trt.deepstream.nvinfer_networks import as_plugins, feed_detector, feed_reid
from mgts_trt.errors import BundleError, MgtsError
from mgts_trt.machine.files import write_text

Groups: TypeAlias = Mapping[str, Mapping[str, str | int | float]]
"""The groups of a configuration: keys and values of each."""

APP, DETECTOR, REID, LABELS = "app.txt", "detector.txt", "reid.txt", "labels.txt"
LIBRARY = "libmgts_deepstream.so"
PARSER = "NvDsInferParseMgtsPeople"
"""What `engines/deepstream/person_parser.cpp` calls its function."""

_MODES = {"fp32": 0, "fp16": 2}
"""nvinfer's `network-mode` by precision; its 1, INT8, wants a calibration of its own."""
_DETECTOR_ID, _REID_ID = 1, 2
_SAMPLE = "file:///opt/nvidia/deepstream/deepstream/samples/streams/sample_1080p_h264.mp4"


def write_folder(bundle: Bundle, out: Path, *, precision: str = "fp32", streams: int = 1, force: bool = False) -> bool:
    """Write networks, configurations, labels and the parser's source.

    Args:
        bundle: With a detector; where it has `idnet`, its people are described, too.
        out: Made if it is not there.
        precision: `fp32` or `fp16`.
        streams: How many are searched together.
        force: Write over what is there.

    Returns:
        Whether people are described.

    Raises:
        BundleError: There is no detector, or not in this precision.
        BuildError: See `feed_detector`.
        MgtsError: The precision is another, or files are there, or cannot be written.
    """
    if precision not in _MODES:
        raise MgtsError(f"nvinfer runs fp32 and fp16 of these files, not {precision}. Ask for one of them.")
    if "detector" not in bundle.manifest.models:
        raise BundleError(f"The bundle {bundle.root} has no detector, which comes first in DeepStream. Name another.")
    describes = "idnet" in bundle.manifest.models
    networks = {"detector": _detector(bundle, precision, streams)}
    if describes:
        networks["idnet"] = _reid(bundle, precision)
    texts = {
        APP: text_of(app_groups(streams, describes)),
        DETECTOR: text_of(detector_groups(bundle, precision, streams)),
        LABELS: "person\n",
    }
    if describes:
        texts[REID] = text_of(reid_groups(bundle, precision))
    sources = sorted((engines_folder() / "deepstream").glob("[!R]*"))  # but for the README
    names = [*texts, *(f"{name}.onnx" for name in networks), *(source.name for source in sources)]
    if not force and (there := [name for name in names if (out / name).exists()]):
        raise MgtsError(f"{out} holds {there[0]} already. Name another folder, or write over it with --force.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, model in networks.items():
            (out / f"{name}.onnx").write_bytes(model.SerializeToString())
        for source in sources:
            shutil.copyfile(source, out / source.name)
    except OSError as error:
        raise MgtsError(f"Cannot write to {out}: {error.strerror}. Name a folder that can be written.") from error
    for name, text in texts.items():
        write_text(out / name, text)
    return describes


def detector_groups(bundle: Bundle, precision: str, streams: int) -> Groups:
    """The configuration of nvinfer for the detector, on whole frames."""
    manifest = bundle.manifest
    height, width = manifest.canvas
    return {
        "property": {
            **_common("detector", precision, streams, _DETECTOR_ID, (height, width)),
            "process-mode": 1,
            "network-type": 0,
            # The frame lies at the canvas's top left, and what is beside it is black.
            "maintain-aspect-ratio": 1,
            "symmetric-padding": 0,
            "num-detected-classes": 1,
            "labelfile-path": LABELS,
            "output-blob-names": ";".join(manifest.models["detector"].outputs),
            "custom-lib-path": LIBRARY,
            "parse-bbox-func-name": PARSER,
            "cluster-mode": 4,  # none: the NMS is in the network
        },
        "class-attrs-all": {"pre-cluster-threshold": manifest.thresholds.detection},
    }


def reid_groups(bundle: Bundle, precision: str) -> Groups:
    """The configuration of nvinfer for the re-ID network, on people: its embeddings go out as tensors beside them."""
    manifest = bundle.manifest
    together = load_recipe("idnet").profile["N"].opt
    return {
        "property": {
            **_common("idnet", precision, together, _REID_ID, (manifest.patch[0], manifest.patch[1])),
            "process-mode": 2,
            "network-type": 100,  # neither detector nor classifier: nvinfer reads nothing out of it
            "output-tensor-meta": 1,
            "maintain-aspect-ratio": 0,
            "operate-on-gie-id": _DETECTOR_ID,
            "operate-on-class-ids": 0,
            "output-blob-names": ";".join(manifest.models["idnet"].outputs),
        }
    }


def app_groups(streams: int, describes: bool) -> Groups:
    """The configuration of `deepstream-app`: DeepStream's own sample, searched, and thrown away."""
    first: Groups = {
        "application": {"enable-perf-measurement": 1, "perf-measurement-interval-sec": 5},
        "tiled-display": {"enable": 0},
        "source0": {"enable": 1, "type": 3, "uri": _SAMPLE, "num-sources": streams, "gpu-id": 0},
        "sink0": {"enable": 1, "type": 1, "sync": 0, "source-id": 0},
        "streammux": {
            "gpu-id": 0,
            "batch-size": streams,
            "batched-push-timeout": 40000,
            "width": 1920,
            "height": 1080,
            "live-source": 0,
        },
        "primary-gie": {
            "enable": 1,
            "gpu-id": 0,
            "gie-unique-id": _DETECTOR_ID,
            "batch-size": streams,
            "config-file": DETECTOR,
        },
    }
    if not describes:
        return first
    together = load_recipe("idnet").profile["N"].opt
    second: dict[str, str | int | float] = {
        "enable": 1,
        "gpu-id": 0,
        "gie-unique-id": _REID_ID,
        "operate-on-gie-id": _DETECTOR_ID,
        "operate-on-class-ids": "0;",
        "batch-size": together,
        "config-file": REID,
    }
    return {**first, "secondary-gie0": second}


def text_of(groups: Groups) -> str:
    """Groups as GLib's key files have them."""
    parts = (
        "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in keys.items())]) for name, keys in groups.items()
    )
    return "\n\n".join(parts) + "\n"


def _common(
    model: str, precision: str, batch: int, number: int, size_hw: tuple[int, int]
) -> dict[str, str | int | float]:
    return {
        "gpu-id": 0,
        "gie-unique-id": number,
        "onnx-file": f"{model}.onnx",
        # What nvinfer calls the engine that it builds, and finds again.
        "model-engine-file": f"{model}.onnx_b{batch}_gpu0_{precision}.engine",
        "network-mode": _MODES[precision],
        "batch-size": batch,
        "infer-dims": f"3;{size_hw[0]};{size_hw[1]}",
        "network-input-order": 0,
        "model-color-format": 0,
        "net-scale-factor": 1.0,
        "scaling-filter": 1,  # bilinear
    }


def _detector(bundle: Bundle, precision: str, streams: int) -> Any:
    model = load_onnx(bundle.model_path("detector", precision))
    feed_detector(model)
    as_plugins(model, streams)
    return model


def _reid(bundle: Bundle, precision: str) -> Any:
    model = load_onnx(bundle.model_path("idnet", precision))
    feed_reid(model, bundle.manifest.normalisation.mean, bundle.manifest.normalisation.std)
    as_plugins(model, 0)  # the number of people stays open
    return model
