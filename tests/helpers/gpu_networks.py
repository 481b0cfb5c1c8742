"""A pipeline in miniature: its networks in NumPy, on the simulated device and, as a reference, on the CPU."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mgts_trt.bundle.recipe import Profile
from mgts_trt.bundle.tensors import TensorSpec
from mgts_trt.plans.batch import at_batch
from mgts_trt.plans.chain import Chain, EngineStep, OperatorStep
from mgts_trt.runtime.gpu.gpu_pipeline import GpuPipeline
from mgts_trt.runtime.modes import MODELS_OF_MODE
from mgts_trt.runtime.operators.kernel_table import kernel_of
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.engine_chain import EngineChain
from mgts_trt.stages import HeadWeights, fused_head
from tests.helpers.reference_kernels import register_kernels
from tests.helpers.simulated import SimulatedDevice
from tests.helpers.simulated_engine import SimulatedContext, SimulatedEngine

CANVAS, CELL, PATCH = (32, 48), 4, (8, 4)
ROWS, EMBEDDING, CHANNELS, HIDDEN = 80, 16, 6, 4
PROBES, JOINT_EMBEDDING = 3, 12
MANIFEST = SimpleNamespace(
    canvas=CANVAS,
    pad=(114, 114, 114),
    normalisation=SimpleNamespace(mean=(120.0, 115.0, 100.0), std=(58.0, 57.0, 56.0)),
    patch=PATCH,
    gamma=1.3,
    embedding=EMBEDDING,
    thresholds=SimpleNamespace(detection=0.5, instance=0.5, mask=0.5),
    models={name: None for models in MODELS_OF_MODE.values() for name in models},
)
_RANDOM = np.random.default_rng(0)
HEAD = HeadWeights(
    squeeze=_RANDOM.normal(size=(HIDDEN, 2 * CHANNELS)).astype(np.float32),
    excite=_RANDOM.normal(size=(2 * CHANNELS, HIDDEN)).astype(np.float32),
    fc=_RANDOM.normal(size=(EMBEDDING, 2 * CHANNELS)).astype(np.float32),
)
_STREAMS = _RANDOM.normal(size=(2, CHANNELS, 3)).astype(np.float32)
_JOINT = np.random.default_rng(1).normal(size=(JOINT_EMBEDDING, 3 * 4)).astype(np.float32)
_IDNET = _RANDOM.normal(size=(EMBEDDING, 3 * PATCH[0] * PATCH[1])).astype(np.float32)


def _spec(*shape, dtype="float32"):
    return TensorSpec(dtype=dtype, shape=shape)


_IMAGE = {"image": _spec("B", *CANVAS, 3, dtype="uint8")}
_BOXES = {"boxes": _spec("B", ROWS, 4), "scores": _spec("B", ROWS)}
_ORIGINAL = {"original": _spec("N", 3, *PATCH)}
_PAIR = {"foreground": _spec("N", 3, *PATCH), **_ORIGINAL}
_FEATURES = {name: _spec("N", CHANNELS, *PATCH) for name in ("foreground_features", "original_features")}
_EMBEDDING = {"embedding": _spec("N", EMBEDDING)}
TENSORS = {
    "detector": (_IMAGE, _BOXES),
    "masknet": (_IMAGE, {**_BOXES, "masks": _spec("B", ROWS, CELL, CELL)}),
    "mgts": (_PAIR, _EMBEDDING),
    "idnet": (_ORIGINAL, _EMBEDDING),
    "headless": (_PAIR, _FEATURES),
    "joint": (
        {**_IMAGE, "rois": _spec("B", PROBES, 4)},
        {
            **_BOXES,
            "embeddings": _spec("B", ROWS, JOINT_EMBEDDING),
            "roi_embeddings": _spec("B", PROBES, JOINT_EMBEDDING),
        },
    ),
    "others_joint": (_IMAGE, {**_BOXES, "embeddings": _spec("B", ROWS, JOINT_EMBEDDING)}),
}
MANIFEST.models["joint"] = SimpleNamespace(outputs=TENSORS["joint"][1])


def _cells(image):
    """Cells of 4 × 4 pixels brighter than half are people, the brightest first."""
    rows, columns = CANVAS[0] // CELL, CANVAS[1] // CELL
    grey = image.astype(np.float32).mean(axis=2) / 255
    cells = grey.reshape(rows, CELL, columns, CELL).swapaxes(1, 2).reshape(-1, CELL, CELL)
    y, x = np.divmod(np.arange(rows * columns), columns)
    boxes = np.stack([x, y, x + 1, y + 1], axis=1).astype(np.float32) * CELL
    return cells, boxes, cells.mean(axis=(1, 2))


def _best(scores, *arrays):
    best = np.argsort(-scores, kind="stable")[:ROWS]
    best = best[scores[best] > 0.5]
    out = []
    for array in (scores, *arrays):
        out.append(np.zeros((ROWS, *array.shape[1:]), np.float32))
        out[-1][: len(best)] = array[best]
    return out


def _of_each(network):
    """A network of one picture for several, each on its own."""

    def of_all(inputs):
        found = [network(image) for image in inputs["image"]]
        return {name: np.stack([each[name] for each in found]) for name in found[0]}

    return of_all


@_of_each
def detector(image):
    _, boxes, scores = _cells(image)
    scores, boxes = _best(scores, boxes)
    return {"boxes": boxes, "scores": scores}


@_of_each
def masknet(image):
    cells, boxes, scores = _cells(image)
    scores, boxes, masks = _best(np.sqrt(scores) * 0.8, boxes, cells)
    return {"boxes": boxes, "scores": scores, "masks": masks}


def _points(image, box):
    """An embedding of length 1 from four points of a box."""
    x1, y1, x2, y2 = box
    xs = np.clip([x1, x2 - 1], 0, CANVAS[1] - 1).astype(int)
    ys = np.clip([y1, y2 - 1], 0, CANVAS[0] - 1).astype(int)
    row = (_JOINT * (image[np.ix_(ys, xs)].astype(np.float32).ravel() - 100)).sum(axis=1)
    return row / max(np.linalg.norm(row), 1e-12)


@_of_each
def others_joint(image):
    _, boxes, scores = _cells(image)
    scores, boxes = _best(scores, boxes)
    embeddings = np.zeros((ROWS, JOINT_EMBEDDING), np.float32)
    for row in np.flatnonzero(scores):
        embeddings[row] = _points(image, boxes[row])
    return {"boxes": boxes, "scores": scores, "embeddings": embeddings}


def joint(inputs):
    pairs = zip(inputs["image"], inputs["rois"], strict=True)
    given = [[_points(image, box) for box in boxes] for image, boxes in pairs]
    return {**others_joint(inputs), "roi_embeddings": np.array(given, np.float32)}


def headless(inputs):
    # A row at a time, so that a result does not depend on the batch.
    return {
        f"{name}_features": np.stack([np.maximum(np.tensordot(w, row, 1), 0) for row in inputs[name]])
        for name, w in zip(("foreground", "original"), _STREAMS, strict=True)
    }


def mgts(inputs):
    maps = headless(inputs)
    pairs = zip(maps["foreground_features"], maps["original_features"], strict=True)
    return {"embedding": np.concatenate([fused_head(f[None], o[None], HEAD) for f, o in pairs])}


def idnet(inputs):
    rows = [(_IDNET * row.ravel()).sum(axis=1) for row in inputs["original"]]
    return {"embedding": np.stack([row / max(np.linalg.norm(row), 1e-12) for row in rows])}


NETWORKS = {
    "detector": detector, "masknet": masknet, "mgts": mgts, "idnet": idnet, "headless": headless, "joint": joint,
    "others_joint": others_joint,
}  # fmt: skip


class Context(SimulatedContext):
    def close(self):
        self.engine.open_contexts -= 1


@dataclass
class Engine(SimulatedEngine):
    """A plan, as far as the pipeline looks at it."""

    profile: dict = field(default_factory=dict)
    open_contexts: int = 0
    has_cache: bool = False
    weights_bytes: int = 5 << 20

    def create_context(self):
        self.open_contexts += 1
        return Context(self)

    def save_cache(self):
        pass

    def close(self):
        pass


def engine(device, model, batch=64, pictures=1):
    """A plan for so many people, or pictures; one for a single picture is static."""
    inputs, outputs = TENSORS[model]
    if "image" in inputs:
        inputs, outputs = at_batch(inputs, pictures), at_batch(outputs, pictures)
        profile = {"B": Profile(min=1, opt=1, max=pictures)} if pictures > 1 else {}
        return Engine(device, model, NETWORKS[model], inputs, outputs, 1024 * pictures, profile=profile)
    profile = {"N": Profile(min=1, opt=1, max=batch)}
    return Engine(device, model, NETWORKS[model], inputs, outputs, 1 << 14, profile=profile)


def mgts_chain(device, batch=64):
    """MGTS as an engine up to its feature maps, and the kernel of its head."""
    before, head = engine(device, "headless", batch), engine(device, "mgts", batch)
    sha256 = "0" * 64
    matrices = {name: np.ascontiguousarray(getattr(HEAD, name)) for name in ("squeeze", "excite", "fc")}
    steps = (
        EngineStep(file="mgts.plan", sha256=sha256, bytes=5 << 20, inputs=tuple(_PAIR), outputs=tuple(_FEATURES)),
        OperatorStep(operator="SeHead", node="head", inputs=(*_FEATURES, *matrices), outputs=tuple(_EMBEDDING)),
    )
    constants = {name: _spec(*matrix.shape) for name, matrix in matrices.items()}
    chain = Chain(
        steps=steps,
        tensors={**_PAIR, **_FEATURES, **constants, **_EMBEDDING},
        constants=tuple(constants),
        constants_sha256=sha256,
    )
    edges = {name: getattr(head, name) for name in ("inputs", "outputs", "profile")}
    record = SimpleNamespace(identity=SimpleNamespace(model="mgts"), chain=chain, **edges)
    plan = SimpleNamespace(record=record, folder=Path("plans/mgts"))
    return EngineChain(plan, [before], [kernel_of(step) for step in chain.operators], matrices, device)


def gpu_pipeline(
    mode, seed=0, *, graphs=True, kernel=False, batch=64, pictures=1, available=None, others=False, **limits
):
    """The pipeline on a simulated device of its own, `pipeline.device`, with its engines, `pipeline.engines`.

    Its plans take up to `batch` people and `pictures` pictures.
    """
    device = SimulatedDevice(seed)
    device.available = available
    register_kernels(device)
    engines = {model: engine(device, model, batch, pictures) for model in MODELS_OF_MODE[mode]}
    if others:
        engines["joint"] = engine(device, "others_joint", batch, pictures)
    if kernel:
        engines["mgts"] = mgts_chain(device, batch)
    pipeline = GpuPipeline(MANIFEST, mode, engines, graphs=graphs, **limits)
    pipeline.device, pipeline.engines = device, engines
    return pipeline


class Session:
    """A network on the CPU."""

    backend, precision = "numpy", "fp32"

    def __init__(self, model, network=None):
        self.model, self.run = model, NETWORKS[network or model]
        self.inputs, self.outputs = TENSORS[network or model]


def reference(mode, *, others=False):
    """The pipeline on the CPU; with a joint network that has no places for given boxes, as others' have none."""
    model = lambda name: SimpleNamespace(inputs=TENSORS[name][0])  # noqa: E731
    bundle = SimpleNamespace(manifest=MANIFEST, model=model)
    return PersonSearch(
        bundle,
        mode=mode,
        sessions={name: Session(name, "others_joint" if others else None) for name in MODELS_OF_MODE[mode]},
    )


def scene(people, seed=0, scale=1):
    """A grey picture with so many people; `scale` times the canvas."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 110, (*CANVAS, 3), dtype=np.uint8)
    cells = random.permutation(CANVAS[0] * CANVAS[1] // CELL**2)[:people]
    for cell in cells:
        y, x = divmod(int(cell) * CELL, CANVAS[1])
        image[y * CELL : (y + 1) * CELL, x : x + CELL] = random.integers(150, 256, (CELL, CELL, 3))
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(60, 256, (height, width, 3), dtype=np.uint8)


def assert_same(got, wanted, *, embeddings=0.0):
    """All that is known of the people is the same, bit for bit; embeddings up to a tolerance where one is given."""
    assert got.letterbox == wanted.letterbox
    for name in ("boxes", "scores", "canvas_boxes", "instances", "crops", "instance_map"):
        mine, theirs = getattr(got, name), getattr(wanted, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            assert mine.dtype == theirs.dtype, name
            np.testing.assert_array_equal(mine, theirs, name)
    assert got.embeddings.dtype == np.float32
    np.testing.assert_allclose(got.embeddings, wanted.embeddings, rtol=0, atol=embeddings)
    np.testing.assert_array_equal(got.masks, wanted.masks)
