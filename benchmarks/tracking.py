"""How well people are joined into tracks, beside plain ByteTrack on the same boxes, at several rates of frames.

Sequences with known identities (TUD Campus, TUD-Stadtmitte, PETS09-S2L1) are judged by TrackEval; a video in which six
people pass one by one, by how many tracks there are for each. All sides get the boxes that the bundle's detector finds.

    pip install -e ".[tracking]"
    python -m benchmarks.tracking ../shared/data --json benchmarks/results/tracking_edge.json
"""

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from pydantic import BaseModel

from benchmarks.environment import Environment, environment
from mgts_trt._typing import Array, Floats
from mgts_trt.choices import Mode
from mgts_trt.cli.console import find_bundle, out, progress, table
from mgts_trt.cli.options import BundleOption, ThreadsOption
from mgts_trt.cli.outputs import JsonOption, write_json
from mgts_trt.cli.run import run_app
from mgts_trt.errors import MgtsError
from mgts_trt.evaluation.boxes import box_iou
from mgts_trt.gallery.indexing.video import video_frames
from mgts_trt.pictures.image import read_image
from mgts_trt.runtime.people import People
from mgts_trt.runtime.pipeline import PersonSearch
from mgts_trt.tracking.tracker import Tracker, TrackerOptions

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PASSINGS = Path(__file__).parent / "one_by_one.json"
MOTION_ALONE = TrackerOptions(appearance=0.0, unlike=-1.0, like=1.0)
"""For appearance to be worth something, it has to beat this."""
EVERY = (1, 5, 10)
"""Which frames are taken of sequences that have all."""


class Truth(NamedTuple):
    """Who is in a frame."""

    identities: Array
    """int [N]."""
    boxes: Floats
    """[N, 4], xyxy, pixels."""


@dataclass(frozen=True)
class Sequence:
    """Frames of one camera: when, what was found, and who is there."""

    name: str
    times: list[float]
    people: list[People]
    truth: list[Truth]

    def every(self, step: int) -> "Sequence":
        """Each `step`-th frame."""
        parts = self.times[::step], self.people[::step], self.truth[::step]
        return replace(self, name=self.name if step == 1 else f"{self.name}, every {step}th", **dict(
            zip(("times", "people", "truth"), parts, strict=True)
        ))  # fmt: skip


class Score(BaseModel):
    """A side on a sequence with known identities."""

    sequence: str
    side: str
    frames: int
    identities: int
    tracks: int
    hota: float
    assa: float
    idf1: float
    mota: float
    switches: int


class Passings(BaseModel):
    """A side on the people who pass one by one."""

    every: int
    side: str
    passings: int
    missed: int
    """Passings without a track."""
    split: int
    """Further tracks of passings that have one."""
    merged: int
    """Passings whose track is that of an earlier one."""
    tracks_of_nobody: int
    late: float
    """Seconds from somebody's first pixel to their first box, at most."""


class Cost(BaseModel):
    """What tracking takes, in ms a frame, beside the pipeline on the same frames."""

    sequence: str
    people_a_frame: float
    tracker: float
    bytetrack: float
    pipeline: float
    share: float
    """Of the tracker, of the pipeline's time."""


class TrackingReport(BaseModel):
    """What was measured."""

    environment: Environment
    preset: str
    mode: Mode
    options: dict[str, float]
    scores: list[Score]
    passings: list[Passings]
    costs: list[Cost]


Tracks = list[tuple[Array, Array]]
"""Of each frame, the people that have a track [M], as rows of its people, and their tracks [M]."""


def ours(options: TrackerOptions) -> Callable[[Sequence], Tracks]:
    """This project's tracker."""

    def run(sequence: Sequence) -> Tracks:
        tracker = Tracker(options)
        updates = [tracker.update(*frame) for frame in zip(sequence.times, sequence.people, strict=True)]
        return [(np.arange(len(update.tracks)), update.tracks) for update in updates]

    return run


def bytetrack(sequence: Sequence) -> Tracks:
    """ByteTrack of the package trackers, which waits as long as ours and names people at once."""
    from supervision import Detections
    from trackers import ByteTrackTracker

    steps = np.diff(sequence.times)
    rate = 1 / float(np.median(steps[steps > 0]))
    patience = round(TrackerOptions().patience * 30)  # it counts frames of thirty a second, whatever the rate
    tracker = ByteTrackTracker(lost_track_buffer=patience, frame_rate=rate, minimum_consecutive_frames=1)
    tracks: Tracks = []
    for seconds, people in zip(sequence.times, sequence.people, strict=True):
        found = tracker.update(
            Detections(people.boxes, confidence=people.scores, data={"row": np.arange(len(people))}), timestamp=seconds
        )
        names = np.asarray([] if found.tracker_id is None else found.tracker_id, np.int64)
        rows = np.asarray(found.data.get("row", np.zeros(0)), np.int64)
        tracks.append((rows[names >= 0], names[names >= 0]))
    return tracks


SIDES: dict[str, Callable[[Sequence], Tracks]] = {
    "motion and appearance": ours(TrackerOptions()),
    "motion alone": ours(MOTION_ALONE),
    "ByteTrack": bytetrack,
}


def score(sequence: Sequence, side: str, tracks: Tracks) -> Score:
    """HOTA, IDF1 and MOTA by TrackEval, at an IoU of 0.5 for the latter two."""
    with contextlib.redirect_stdout(io.StringIO()):  # it reports what it lacks for other metrics, and its times
        from trackeval.metrics import CLEAR, HOTA, Identity

        known = {who: place for place, who in enumerate(sorted({w for t in sequence.truth for w in t.identities}))}
        named = {name: place for place, name in enumerate(sorted({n for _, names in tracks for n in names.tolist()}))}
        data = {
            "gt_ids": [np.array([known[who] for who in each.identities], int) for each in sequence.truth],
            "tracker_ids": [np.array([named[name] for name in names.tolist()], int) for _, names in tracks],
            "similarity_scores": [
                box_iou(truth.boxes, people.boxes[rows]).astype(float)
                for truth, people, (rows, _) in zip(sequence.truth, sequence.people, tracks, strict=True)
            ],
            "num_gt_dets": sum(len(each.identities) for each in sequence.truth),
            "num_tracker_dets": sum(len(names) for _, names in tracks),
            "num_gt_ids": len(known),
            "num_tracker_ids": len(named),
            "num_timesteps": len(tracks),
        }
        quiet = {"PRINT_CONFIG": False}
        hota = HOTA().eval_sequence(data)
        identity, clear = Identity(quiet).eval_sequence(data), CLEAR(quiet).eval_sequence(data)
    return Score(
        sequence=sequence.name,
        side=side,
        frames=len(tracks),
        identities=len(known),
        tracks=len(named),
        hota=round(float(hota["HOTA"].mean()), 4),
        assa=round(float(hota["AssA"].mean()), 4),
        idf1=round(float(identity["IDF1"]), 4),
        mota=round(float(clear["MOTA"]), 4),
        switches=int(clear["IDSW"]),
    )


def count_passings(sequence: Sequence, side: str, every: int, tracks: Tracks, truth: list[tuple[int, int]]) -> Passings:
    """How many tracks each passing has; `truth` names its first and last frame, which `sequence` may skip."""
    of_frame = [{int(name) for name in names} for _, names in tracks]
    taken, missed, split, merged, late = set[int](), 0, 0, 0, 0.0
    rate = 1 / (sequence.times[1] - sequence.times[0]) * every
    for first, last in truth:
        frames = range(-(-first // every), last // every + 1)
        mine = set().union(*(of_frame[number] for number in frames))
        missed += not mine
        merged += bool(mine & taken)
        split += max(len(mine - taken) - 1, 0)
        taken |= mine
        seen = next((number * every for number in frames if of_frame[number]), first)
        late = max(late, (seen - first) / rate)
    nobody = len(set().union(*of_frame) - taken)
    return Passings(
        every=every, side=side, passings=len(truth), missed=missed, split=split, merged=merged,
        tracks_of_nobody=nobody, late=round(late, 2),
    )  # fmt: skip


def known_sequences(data: Path, search: Callable[[Path], People]) -> Iterator[Sequence]:
    """TUD Campus, and the two of `mot15_static`, with everybody that `search` finds in a picture.

    Raises:
        MgtsError: `data` does not hold them.
    """
    campus: dict[str, list[tuple[int, list[float]]]] = {}
    for row in np.loadtxt(_there(data / "tud_campus" / "gt.txt"), delimiter=","):
        box = [row[2], row[3], row[2] + row[4], row[3] + row[5]]
        campus.setdefault(f"{int(row[0]):06}", []).append((int(row[1]), box))
    pictures = sorted((data / "tud_campus" / "images").glob("*.jpg"))
    yield _known("TUD Campus", 25.0, pictures, campus, search)
    labels = json.loads(_there(data / "mot15_static" / "boxes.json").read_text(encoding="utf-8"))
    boxes = {
        Path(each["file"]).stem: [
            (person["id"], [x, y, x + w, y + h]) for person in each["persons"] for x, y, w, h in [person["bbox"]]
        ]
        for each in labels
    }
    for name, prefix, rate in (("TUD-Stadtmitte", "stadtmitte", 25.0), ("PETS09-S2L1", "pets", 7.0)):
        pictures = sorted((data / "mot15_static" / "images").glob(f"{prefix}_*.jpg"))
        yield _known(name, rate, pictures, boxes, search)


def _known(
    name: str,
    rate: float,
    pictures: list[Path],
    people: dict[str, list[tuple[int, list[float]]]],
    search: Callable[[Path], People],
) -> Sequence:
    truth = []
    for path in pictures:
        there = people.get(path.stem, [])
        truth.append(
            Truth(np.array([who for who, _ in there], int), np.float32([box for _, box in there]).reshape(-1, 4))
        )
    times = [int(path.stem.rpartition("_")[2]) / rate for path in pictures]
    return Sequence(name, times, [search(path) for path in pictures], truth)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise MgtsError(f"There is no {path}. Name the folder that holds tud_campus, mot15_static and intel_samples.")
    return path


def measure_costs(sequence: Sequence) -> Cost:
    """Ours and ByteTrack in turns, the best of five each."""
    times: dict[str, list[float]] = {"motion and appearance": [], "ByteTrack": []}
    for _ in range(5):
        for side, taken in times.items():
            begin = time.perf_counter()
            SIDES[side](sequence)
            taken.append((time.perf_counter() - begin) / len(sequence.times) * 1e3)
    best = {side: min(taken) for side, taken in times.items()}
    pipeline = float(np.median([people.timings["total"] for people in sequence.people]))
    return Cost(
        sequence=sequence.name,
        people_a_frame=round(sum(map(len, sequence.people)) / len(sequence.people), 2),
        tracker=round(best["motion and appearance"], 3),
        bytetrack=round(best["ByteTrack"], 3),
        pipeline=round(pipeline, 1),
        share=round(best["motion and appearance"] / pipeline, 5),
    )


@app.command()
def main(
    data: Annotated[Path, typer.Argument(help="The folder of tud_campus, mot15_static and intel_samples.")],
    bundle: BundleOption = None,
    mode: Annotated[Mode, typer.Option(help="none, net, box or joint.")] = "box",
    threads: ThreadsOption = None,
    json_file: JsonOption = None,
) -> None:
    """Judge the tracks of all sides."""
    video = _there(data / "intel_samples" / "one-by-one-person-detection.mp4")
    told = json.loads(PASSINGS.read_text(encoding="utf-8"))["passings"]
    with (
        PersonSearch.open(find_bundle(bundle), mode=mode, backend="onnxruntime", threads=threads) as search,
        progress() as bar,
    ):
        task = bar.add_task("searching", total=None)

        def found(people: People) -> People:
            bar.advance(task)
            return people

        sequences = list(known_sequences(data, lambda path: found(search(read_image(path)))))
        frames = [(frame.seconds, found(search(frame.image))) for frame in video_frames(str(video), lambda _: True)]
        preset = search.bundle.manifest.preset
    passing = Sequence("one by one", [t for t, _ in frames], [people for _, people in frames], [])
    runs = [sequences[0].every(step) for step in EVERY] + sequences[1:]
    truth = [(each["first"], each["last"]) for each in told]
    report = TrackingReport(
        environment=environment(),
        preset=preset,
        mode=mode,
        options={name: float(value) for name, value in vars(TrackerOptions()).items()},
        scores=[score(each, side, run(each)) for each in runs for side, run in SIDES.items()],
        passings=[
            count_passings(thinned, side, step, run(thinned), truth)
            for step in (*EVERY, 20)
            for thinned in [passing.every(step)]
            for side, run in SIDES.items()
        ],
        costs=[measure_costs(each) for each in (*sequences, passing)],
    )
    _show(report)
    if json_file:
        write_json(json_file, report.model_dump_json(indent=1))


def _show(report: TrackingReport) -> None:
    for rows, names in (
        (
            report.scores,
            ("sequence", "side", "frames", "identities", "tracks", "hota", "assa", "idf1", "mota", "switches"),
        ),
        (report.passings, ("every", "side", "passings", "missed", "split", "merged", "tracks_of_nobody", "late")),
        (report.costs, ("sequence", "people_a_frame", "tracker", "bytetrack", "pipeline", "share")),
    ):
        _table(rows, names)


def _table(rows: Iterable[BaseModel], names: tuple[str, ...]) -> None:
    shown = table(*(name if name in ("sequence", "side") else f">{name.replace('_', ' ')}" for name in names))
    for row in rows:
        shown.add_row(*(str(getattr(row, name)) for name in names))
    out.print(shown)


if __name__ == "__main__":
    run_app(app)
