"""A bundle on labelled data: masks, re-ID on ground-truth boxes, and person search (Sec. 4.2).

Bundles run through their own sessions and the stages of deployment, so what is measured is what is deployed; no network
is built in PyTorch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mgts_trt._typing import Array, Floats, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.errors import MetricError
from mgts_trt.evaluation.mask_metrics import MaskResult, evaluate_masks
from mgts_trt.evaluation.metrics import (
    IouThreshold,
    RankingResult,
    evaluate_detection,
    evaluate_reid,
    evaluate_search,
)
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.modes import MODELS_OF_MODE, mode_dimension, mode_patches
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.backends import Runtime
from mgts_trt.runtime.session.onnxruntime import OnnxRuntimeSession
from training.data.protocols import Query
from training.data.scene import UNKNOWN, Scene, Scenes
from training.data.transforms import to_canvas

_OWN_CAMERA = 10**6

OnStep = Callable[[], None]

BATCH = 32
"""Persons in one run of a re-ID session."""


def no_step() -> None:
    """Nobody waits for a step."""


def masks(bundle: Bundle, scenes: Scenes, *, on_step: OnStep = no_step) -> MaskResult:
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
    bundle: Bundle, scenes: Scenes, mode: Mode, *, gamma: float | None = None, on_step: OnStep = no_step
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
    return rank_people(*embed_scenes(bundle, scenes, mode, gamma=gamma, on_step=on_step))


def rank_people(embeddings: Array, identities: Array, cameras: Array) -> RankingResult:
    """The first person of every identity and camera against everybody: embeddings [P, d], identities and cameras [P].

    Raises:
        MetricError: An embedding is not finite, or no identity was seen by two cameras.
    """
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
    bundle: Bundle, scenes: Scenes, mode: Mode, *, gamma: float | None = None, on_step: OnStep = no_step
) -> tuple[Array, Array, Array]:
    """Embeddings [P, d], identities [P] and cameras [P] of everybody in the scenes, from ground-truth boxes."""
    if mode == "joint":
        return _embed_jointly(bundle, scenes, on_step)
    manifest = bundle.manifest
    if gamma is not None:
        manifest = manifest.model_copy(update={"gamma": gamma})
    session = OnnxRuntimeSession(bundle, MODELS_OF_MODE[mode][-1], "fp32")

    def inputs(scene: Scene) -> dict[str, Array]:
        canvas, letterbox = to_canvas(scene, manifest.canvas, manifest.pad)
        instances = canvas.instances if mode == "net" else None
        patches = mode_patches(manifest, mode, canvas.image, letterbox.clip(canvas.boxes), instances, letterbox)
        made = {"foreground": patches.foreground, "original": patches.original}
        return {name: made[name] for name in session.inputs}

    return describe_people(scenes, inputs, lambda batch: session.run(batch)["embedding"], on_step=on_step)


def _embed_jointly(bundle: Bundle, scenes: Scenes, on_step: OnStep) -> tuple[Array, Array, Array]:
    """The same of the joint network, which has no patches: it sees whole scenes."""
    people = [np.zeros((0, mode_dimension(bundle.manifest, "joint")), np.float32)]
    identities, cameras = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    with PersonSearch(bundle, mode="joint") as search:
        for number, scene in enumerate(_each(scenes, on_step)):
            if not len(scene.boxes):
                continue
            people.append(search.embed(scene.image, scene.boxes).embeddings)
            identities.append(scene.identities)
            cameras.append(np.full(len(scene.boxes), _camera(scene, number), np.int64))
    if len(people) == 1:
        raise _nobody(scenes)
    return np.concatenate(people), np.concatenate(identities), np.concatenate(cameras)


def describe_people(
    scenes: Scenes,
    inputs: Callable[[Scene], dict[str, Array]],
    describe: Callable[[dict[str, Array]], Array],
    *,
    on_step: OnStep = no_step,
) -> tuple[Array, Array, Array]:
    """What a re-ID network says of everybody in the scenes.

    Args:
        scenes: Read once, in order.
        inputs: The network's inputs by name for the N people of a scene, [N, 3, H, W] each.
        describe: A row [D] for each of up to `BATCH` people, from those inputs.
        on_step: Called after each scene.

    Returns:
        Rows [P, D], identities int64 [P] and cameras int64 [P]. A scene whose camera is unknown counts as a camera of
        its own: nobody is then found in the picture they come from.

    Raises:
        MetricError: The scenes show nobody.
    """
    waiting: dict[str, list[Array]] = {}
    rows: list[Array] = []
    identities: list[int] = []
    cameras: list[int] = []

    def run(least: int) -> None:
        while waiting and len(next(iter(waiting.values()))) >= least:
            rows.append(describe({name: np.stack(values[:BATCH]) for name, values in waiting.items()}))
            for values in waiting.values():
                del values[:BATCH]

    for number, scene in enumerate(_each(scenes, on_step)):
        if not len(scene.boxes):
            continue
        for name, values in inputs(scene).items():
            waiting.setdefault(name, []).extend(values)
        identities += scene.identities.tolist()
        cameras += [_camera(scene, number)] * len(scene.boxes)
        run(BATCH)
    run(1)
    if not rows:
        raise _nobody(scenes)
    return np.concatenate(rows), np.array(identities, np.int64), np.array(cameras, np.int64)


def _camera(scene: Scene, number: int) -> int:
    return _OWN_CAMERA + number if scene.camera == UNKNOWN else scene.camera


def _nobody(scenes: Scenes) -> MetricError:
    return MetricError(f"Nobody is labelled in {len(scenes)} scenes. Evaluate on a dataset with people.")


@dataclass(frozen=True, eq=False)
class Described:
    """What a pipeline made of the pictures of a search: enough to rank any galleries of them.

    Attributes:
        probes: float32 [Q, d], the queries' embeddings.
        detections: Boxes [N, 4] and embeddings [N, d] of each gallery picture.
        seconds: float64 [G], of the pipeline on each gallery picture, decoding excluded.
        runtime: What it ran on.
    """

    probes: Floats
    detections: dict[str, tuple[Array, Array]]
    seconds: NDArray[np.float64]
    runtime: Runtime


def describe_search(
    bundle: Bundle,
    picture: Callable[[str], Image],
    queries: Sequence[Query],
    mode: Mode,
    *,
    on_step: OnStep = no_step,
) -> Described:
    """Detect and describe everybody in all galleries' pictures, and describe the queries in theirs.

    Args:
        bundle: With the models of the mode.
        picture: The picture of a name, uint8 [H, W, 3] RGB; each is asked for once.
        queries: From `training.data.protocols`, or the like; Q of them, boxes [4] xyxy in pixels of their pictures.
        mode: Of the pipeline.
        on_step: Called after each picture.

    Returns:
        Embeddings [Q, d] of the queries, and boxes [N, 4] (xyxy, pixels of the picture) and embeddings [N, d] of each
        gallery picture.

    Raises:
        ImageError: A query's box lies outside its picture.
    """
    galleries = {name for query in queries for name, _ in query.gallery}
    rows_of: dict[str, list[int]] = {}
    for row, query in enumerate(queries):
        rows_of.setdefault(query.image, []).append(row)
    probes = np.empty((len(queries), mode_dimension(bundle.manifest, mode)), np.float32)
    detections: dict[str, tuple[Array, Array]] = {}
    seconds = []
    with PersonSearch(bundle, mode=mode) as search:
        for name in sorted(galleries | rows_of.keys()):
            image = picture(name)
            if name in galleries:
                people = search(image)
                detections[name] = (people.boxes, people.embeddings)
                seconds.append(people.timings["total"] / 1e3)
            if rows := rows_of.get(name):
                probes[rows] = search.embed(image, np.stack([queries[row].box for row in rows])).embeddings
            on_step()
        return Described(probes, detections, np.array(seconds, np.float64), search.runtime)


def person_search(
    bundle: Bundle,
    folder: Path,
    queries: Sequence[Query],
    mode: Mode,
    *,
    iou_threshold: IouThreshold = 0.5,
    on_step: OnStep = no_step,
) -> RankingResult:
    """Person search as CUHK-SYSU and PRW define it: detect and describe every gallery image, rank for each query.

    Args:
        bundle: With the models of the mode.
        folder: Of the pictures.
        queries: From `training.data.protocols`.
        mode: Of the pipeline.
        iou_threshold: See `evaluate_search`.
        on_step: Called after each picture.
    """
    described = describe_search(bundle, lambda name: read_image(folder / name), queries, mode, on_step=on_step)
    galleries = [query.gallery for query in queries]
    return evaluate_search(described.probes, galleries, described.detections, iou_threshold=iou_threshold)


def picture_count(queries: Iterable[Query]) -> int:
    """How many pictures `describe_search` will look at."""
    return len({name for query in queries for name in (query.image, *(name for name, _ in query.gallery))})


def _each(scenes: Scenes, on_step: OnStep) -> Iterator[Scene]:
    for i in range(len(scenes)):
        yield scenes[i]
        on_step()
