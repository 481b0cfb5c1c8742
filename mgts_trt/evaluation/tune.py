"""Which way to run a bundle is the fastest here: all that fit, side by side, each checked against the reference."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from pydantic import BaseModel

from mgts_trt._typing import Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.recipe import load_recipe
from mgts_trt.choices import Mode
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.boxes import match_boxes
from mgts_trt.machine.cpu import available_cores
from mgts_trt.machine.gpus import find_gpus
from mgts_trt.plans.installed import find_flavour
from mgts_trt.plans.lowering import measurable
from mgts_trt.runtime.modes import MODELS_OF_MODE, default_mode
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.runtime.session.tuned import FASTEST, Setting, keep, require_cache
from mgts_trt.runtime.session.tuned_lowering import keep_lowering

MARGIN = 1.03
"""By how much a setting must be faster than what runs without tuning: less is noise."""


class Measured(BaseModel):
    """One setting."""

    setting: Setting
    images_per_second: list[float] = []
    """By round."""
    parity: str = ""
    """How it differs from the reference, in words."""
    at_parity: bool = False
    problem: str = ""
    """Why it cannot run here, in a sentence."""

    @property
    def speed(self) -> float:
        """Images a second: the median of the rounds; 0 if it did not run."""
        return statistics.median(self.images_per_second) if self.images_per_second else 0.0


class TuneReport(BaseModel):
    """All settings in the order they were tried, and the fastest by precision and, as `auto`, of all."""

    mode: Mode
    pictures: int
    rounds: int
    settings: list[Measured]
    winners: dict[str, Setting]


def settings_for(precisions: Sequence[str]) -> list[Setting]:
    """What can be tried on this machine; of each precision, what runs without tuning comes first."""
    cores = available_cores()
    counts = sorted({cores, max(cores // 2, 1), 1}, reverse=True)
    settings: list[Setting] = []
    gpus = find_gpus()
    for precision in precisions:
        if gpus:
            for ops in measurable(find_flavour(gpu=gpus[0])):
                plan = Setting(backend="tensorrt", precision=precision, ops=ops)
                settings += [plan.model_copy(update={"pictures_in_flight": pictures}) for pictures in (2, 1, 3)]
                settings.append(plan.model_copy(update={"pictures_in_flight": 2, "graphs": False}))
            settings.append(Setting(backend="onnxruntime-cuda", precision=precision))
        for threads in counts:
            plain = Setting(backend="onnxruntime", precision=precision, threads=threads)
            # A lone thread waits for nobody.
            settings += [plain, plain.model_copy(update={"spinning": True})] if threads > 1 else [plain]
    return settings


def tune(
    bundle: Bundle,
    pictures: Sequence[Image],
    *,
    mode: Mode | None = None,
    precisions: Sequence[str] = ("fp32",),
    rounds: int = 5,
    on_step: Callable[[int, int, str], None] = lambda done, total, doing: None,
) -> TuneReport:
    """Measure all that fits, keep the fastest at parity for `auto`, and tell of each.

    The settings take turns in every round, so that what else the machine does falls on all alike.

    Args:
        bundle: An opened bundle.
        pictures: uint8 [H, W, 3], RGB, decoded.
        mode: `none`, `net` or `box`; by default the bundle's, see `default_mode`.
        precisions: Which of the bundle's to try.
        rounds: Turns of each setting; each runs all pictures once.
        on_step: Called before each step with how many are done, how many there are, and what comes.

    Raises:
        MgtsError: There is no picture or round, the bundle lacks a model in FP32, or there is nowhere to keep this.
    """
    if not pictures or rounds < 1:
        raise MgtsError(f"At least one picture and one round expected, got {len(pictures)} and {rounds}.")
    mode = mode or default_mode(bundle)
    require_cache()  # before minutes of measuring
    results = [Measured(setting=setting) for setting in settings_for(precisions)]
    total, done = len(results) * (1 + rounds), 0
    with ExitStack() as opened:
        with PersonSearch(bundle, mode=mode, backend="onnxruntime") as search:
            reference = [search(picture) for picture in pictures]
        running: list[tuple[Measured, PersonSearch]] = []
        for result in results:
            on_step(done, total, f"checking {result.setting}")
            done += 1
            try:
                search = opened.enter_context(open_as(bundle, mode, result.setting))
                search.warm_up()
                result.parity, result.at_parity = _parity(search, result.setting.precision, pictures, reference)
            except MgtsError as error:
                result.problem = str(error)
                done += rounds
                continue
            running.append((result, search))
        for number in range(rounds):
            # There and back: nobody always comes after the same one.
            for result, search in running if number % 2 == 0 else reversed(running):
                on_step(done, total, f"measuring {result.setting}")
                done += 1
                search(pictures[0])  # meanwhile what the setting before left spinning comes to rest
                start = time.perf_counter()
                for _ in search.stream(pictures):
                    pass
                result.images_per_second.append(len(pictures) / (time.perf_counter() - start))
    winners = choose(results)
    for precision, setting in winners.items():
        keep(bundle, mode, precision, setting)
    plans = choose([result for result in results if result.setting.backend == "tensorrt"])
    for precision, setting in plans.items():
        if precision != FASTEST and setting.ops != "auto":
            keep_lowering(bundle, precision, setting.ops)
    return TuneReport(mode=mode, pictures=len(pictures), rounds=rounds, settings=results, winners=winners)


def open_as(bundle: Bundle, mode: Mode, setting: Setting) -> PersonSearch:
    """A pipeline with a setting, whatever was kept before."""
    return PersonSearch(bundle, mode=mode, **setting.model_dump())


def choose(results: Sequence[Measured]) -> dict[str, Setting]:
    """The fastest at parity by precision, and of all as `FASTEST`; the first of a precision unless one beats it."""
    winners: dict[str, Measured] = {}
    for result in results:
        if not result.at_parity or not result.images_per_second:
            continue
        precision = result.setting.precision
        first = next(each for each in results if each.setting.precision == precision and each.at_parity)
        if precision not in winners or (
            result.speed > winners[precision].speed and result.speed > MARGIN * first.speed
        ):
            winners[precision] = result
    chosen = {precision: result.setting for precision, result in winners.items()}
    if winners:
        chosen[FASTEST] = max(winners.values(), key=lambda result: result.speed).setting
    return chosen


def _parity(
    search: PersonSearch, precision: str, pictures: Sequence[Image], reference: Sequence[People]
) -> tuple[str, bool]:
    """Who of the reference is found again, and the cosines of its people in the very same boxes."""
    detector, reid = (load_recipe(MODELS_OF_MODE[search.mode][place]).of(precision).tolerance for place in (0, -1))
    found, wanted, cosines = 0, 0, [1.0]
    for picture, expected in zip(pictures, reference, strict=True):
        people = search(picture)
        found += int((match_boxes(expected.boxes, people.boxes, detector.box_iou or 0.5) >= 0).sum())
        wanted += max(len(expected), len(people))
        if len(expected):
            again = search.embed(picture, expected.boxes).embeddings
            cosines += np.einsum("nd,nd->n", again, expected.embeddings).tolist()
    share, least = found / wanted if wanted else 1.0, min(cosines)
    fine = share >= (1.0 if detector.matched is None else detector.matched) and least >= (reid.cosine or 0.0)
    return f"{share:.1%} found, least cosine {least:.4f}", fine
