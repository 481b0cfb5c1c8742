"""A bundle on labelled data: detection, masks, re-ID on ground-truth boxes, and person search (Sec. 4.2).

Everything runs through a bundle's sessions and the stages of deployment, so what is measured is what is deployed; no
network is built in PyTorch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mgts_trt._typing import Array, Floats
from mgts_trt.bundle import Bundle
from mgts_trt.image import read_image
from mgts_trt.metrics import (
    DetectionResult,
    IouThreshold,
    MaskResult,
    RankingResult,
    evaluate_detection,
    evaluate_masks,
    evaluate_reid,
    evaluate_search,
)
from mgts_trt.modes import MODELS_OF_MODE, Mode, mode_patches
from mgts_trt.pipeline import PersonSearch
from mgts_trt.session.base import Session
from mgts_trt.session.onnxruntime import OnnxRuntimeSession
from mgts_trt.stages import Letterbox
from training.data.scene import UNKNOWN, Scene, Scenes
from training.data.transforms import to_canvas
from training.protocols import Query

_OWN_CAMERA = 10**6

OnStep = Callable[[], None]

BATCH = 32
"""Persons in one run of a re-ID session."""


def _nothing() -> None: ...


def detection(bundle: Bundle, scenes: Scenes, *, on_step: OnStep = _nothing) -> DetectionResult:
    """AP and recall at IoU 0.5 of the bundle's detector, over all its rows, however faint."""
    session = OnnxRuntimeSession(bundle, "detector", "fp32")
    predictions, truths = [], []
    for scene in _each(scenes, on_step):
        letterbox = Letterbox((scene.image.shape[0], scene.image.shape[1]), bundle.manifest.canvas)
        found = session.run({"image": letterbox.apply(scene.image, bundle.manifest.pad)})
        rows = found["scores"] > 0
        boxes = letterbox.to_image(letterbox.clip(found["boxes"][rows]))
        predictions.append((boxes, found["scores"][rows]))
        truths.append(scene.boxes)
    return evaluate_detection(predictions, truths)


def masks(bundle: Bundle, scenes: Scenes, *, on_step: OnStep = _nothing) -> MaskResult:
    """Mean IoU of the masks re-ID sees in mode `net` with the labelled ones, over true positives.

    Scenes without labelled masks are passed over.
    """

    def images() -> Iterator[tuple[Array, Array, Array]]:
        with PersonSearch(bundle, mode="net") as search:
            for scene in _each(scenes, on_step):
                if scene.instances is None or not len(scene.boxes):
                    continue
                people = search(scene.image)
                matches = evaluate_detection([(people.boxes, people.scores)], [scene.boxes]).matches[0]
                found = people.masks
                yield np.zeros((0, 1, 1), np.bool_) if found is None else found, scene.instances, matches

    return evaluate_masks(images())


def reid(
    bundle: Bundle, scenes: Scenes, mode: Mode, *, gamma: float | None = None, on_step: OnStep = _nothing
) -> RankingResult:
    """Re-ID on ground-truth boxes, the Market-1501 protocol.

    The first labelled person of every identity and camera is a query; the gallery is everybody. In mode `net` the
    masks are the scenes' own: this measures the re-ID network, not the mask net.

    Args:
        bundle: With the re-ID network of the mode.
        scenes: Labelled identities; cameras where known.
        mode: What the network sees.
        gamma: RoI expand ratio instead of the bundle's (Table 5).
        on_step: Called after each scene.
    """
    embeddings, identities, cameras = embed_scenes(bundle, scenes, mode, gamma=gamma, on_step=on_step)
    seen: set[tuple[int, int]] = set()
    queries = []
    for row, key in enumerate(zip(identities.tolist(), cameras.tolist(), strict=True)):
        if key[0] != UNKNOWN and key not in seen:
            seen.add(key)
            queries.append(row)
    return evaluate_reid(
        embeddings[queries],
        identities[queries],
        embeddings,
        identities,
        query_cameras=cameras[queries],
        gallery_cameras=cameras,
    )


def embed_scenes(
    bundle: Bundle, scenes: Scenes, mode: Mode, *, gamma: float | None = None, on_step: OnStep = _nothing
) -> tuple[Floats, Array, Array]:
    """Embeddings [P, d], identities [P] and cameras [P] of everybody in the scenes, from ground-truth boxes.

    A scene whose camera is unknown counts as a camera of its own: nobody is then found in the picture they come from.
    """
    manifest = bundle.manifest
    if gamma is not None:
        manifest = manifest.model_copy(update={"gamma": gamma})
    session = OnnxRuntimeSession(bundle, MODELS_OF_MODE[mode][-1], "fp32")
    waiting: dict[str, list[Array]] = {name: [] for name in session.inputs}
    embeddings, identities, cameras = [np.zeros((0, manifest.embedding), np.float32)], [], []
    for number, scene in enumerate(_each(scenes, on_step)):
        canvas, letterbox = to_canvas(scene, manifest.canvas, manifest.pad)
        instances = canvas.instances if mode == "net" else None
        patches = mode_patches(manifest, mode, canvas.image, letterbox.clip(canvas.boxes), instances, letterbox)
        for name in waiting:
            waiting[name] += list({"foreground": patches.foreground, "original": patches.original}[name])
        identities += scene.identities.tolist()
        camera = _OWN_CAMERA + number if scene.camera == UNKNOWN else scene.camera
        cameras += [camera] * len(scene.boxes)
        while len(waiting["original"]) >= BATCH:
            embeddings.append(_embed(session, waiting))
    while waiting["original"]:
        embeddings.append(_embed(session, waiting))
    return np.concatenate(embeddings), np.array(identities, np.int64), np.array(cameras, np.int64)


def _embed(session: Session, waiting: dict[str, list[Array]]) -> Floats:
    inputs = {name: np.stack(rows[:BATCH]) for name, rows in waiting.items()}
    for rows in waiting.values():
        del rows[:BATCH]
    return session.run(inputs)["embedding"]


def person_search(
    bundle: Bundle,
    folder: Path,
    queries: Sequence[Query],
    mode: Mode,
    *,
    iou_threshold: IouThreshold = 0.5,
    on_step: OnStep = _nothing,
) -> RankingResult:
    """Person search as CUHK-SYSU and PRW define it: detect and describe every gallery image, rank for each query.

    Args:
        bundle: With the models of the mode.
        folder: Of the pictures.
        queries: From `training.protocols`.
        mode: Of the pipeline.
        iou_threshold: See `evaluate_search`.
        on_step: Called after each picture.
    """
    names = sorted({name for query in queries for name, _ in query.gallery})
    detections: dict[str, tuple[Array, Array]] = {}
    with PersonSearch(bundle, mode=mode) as search:
        for name in names:
            people = search(read_image(folder / name))
            detections[name] = (people.boxes, people.embeddings)
            on_step()
        probes = []
        for query in queries:
            probes.append(search.embed(read_image(folder / query.image), query.box[None]).embeddings[0])
            on_step()
    return evaluate_search(
        np.stack(probes), [query.gallery for query in queries], detections, iou_threshold=iou_threshold
    )


def picture_count(queries: Iterable[Query]) -> int:
    """How often `person_search` will call `on_step`."""
    queries = list(queries)
    return len({name for query in queries for name, _ in query.gallery}) + len(queries)


def _each(scenes: Scenes, on_step: OnStep) -> Iterator[Scene]:
    for i in range(len(scenes)):
        yield scenes[i]
        on_step()
