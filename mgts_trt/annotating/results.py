"""What is written of inputs: JSON and a drawn picture of a photo, JSON lines and a drawn video of all others."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgts_trt._typing import Image
from mgts_trt.annotating.blurring import Blur, Blurring
from mgts_trt.annotating.inputs import Input
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.errors import MgtsError
from mgts_trt.gallery.indexing.reading import Picture
from mgts_trt.pictures.draw import draw_people
from mgts_trt.pictures.image import write_image
from mgts_trt.runtime.cuda.picture import on_host
from mgts_trt.runtime.modes import default_mode, held_modes
from mgts_trt.runtime.people import People
from mgts_trt.runtime.session.tuned import FASTEST
from mgts_trt.tracking.tracker import Tracker

if TYPE_CHECKING:  # needs the package av, which no photo does
    from mgts_trt.annotating.mp4 import Recording


@dataclass(frozen=True)
class Wanted:
    """What to write.

    Attributes:
        draw: Annotated pictures and videos.
        masks: Masks in what is drawn; None draws them in photos alone, and never where people are hidden.
        embeddings: Embeddings in the JSON; None puts them into that of photos alone, if nobody is hidden.
        track: Numbers of tracks, for all but photos.
        blur: Whom to hide in what is drawn.

    Raises:
        MgtsError: Masks are to be drawn of people who are hidden.
    """

    draw: bool = True
    masks: bool | None = None
    embeddings: bool | None = None
    track: bool = True
    blur: Blur | None = None

    def __post_init__(self) -> None:
        if self.masks and self.blur:
            raise MgtsError("Masks show the outlines of people who are to be hidden. Ask for one of the two.")


def fitting_mode(bundle: Bundle, inputs: Sequence[Input], wanted: Wanted, precision: str) -> Mode:
    """The mode where none is named: that of the bundle, unless only boxes and tracks are asked for.

    Boxes are the same in the modes `none`, `box` and `net`; then the first is taken, which is the fastest
    that tracks can be told in.

    Raises:
        BundleError: The bundle holds no mode's models.
    """
    boxes_alone = all(each.is_film for each in inputs) and not wanted.masks and not wanted.embeddings
    held = held_modes(bundle.manifest, None if precision == FASTEST else precision)
    return "none" if boxes_alone and "none" in held else default_mode(bundle)


def write_photo(each: Input, out: Path, picture: Picture, people: People, wanted: Wanted) -> None:
    """Write `NAME.json` and, with `draw`, `NAME.people.jpg`.

    Raises:
        ImageError: It cannot be drawn as JPEG.
        OSError: It cannot be written.
    """
    numbers, drawn = each.results(out)
    numbers.parent.mkdir(parents=True, exist_ok=True)
    found = people.to_dict()
    embeddings = wanted.blur is None if wanted.embeddings is None else wanted.embeddings
    shown: Image | None = None
    alone: int | None = None
    if wanted.blur:
        shown, alone = Blurring(wanted.blur).hide(picture.pixels, people)
    found["people"] = _rows(people, embeddings, wanted.blur, alone)
    text = json.dumps({"file": each.source, "damage": picture.damage, **found}, indent=1)
    numbers.write_text(text + "\n", encoding="utf-8")
    if wanted.draw:
        if shown is None and wanted.masks is not False:
            shown = people.draw(picture.pixels)
        else:
            shown = draw_people(picture.pixels if shown is None else shown, people.boxes, people.scores)
        write_image(drawn, shown)


class Film:
    """The results of a video, webcam or stream: `NAME.jsonl`, a line a frame, and, with `draw`, `NAME.people.mp4`.

    Args:
        each: Whose.
        out: Folder of results.
        wanted: What to write.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, each: Input, out: Path, wanted: Wanted) -> None:
        self._input, self._wanted = each, wanted
        numbers, self._drawn = each.results(out)
        numbers.parent.mkdir(parents=True, exist_ok=True)
        # By lines, so that whoever reads along finds whole ones.
        self._lines = numbers.open("w", encoding="utf-8", buffering=1)
        self._recording: Recording | None = None
        self._tracker = Tracker() if wanted.track or wanted.blur else None
        self._blurring = Blurring(wanted.blur) if wanted.blur else None
        self._seen: set[int] = set()

    @property
    def tracks(self) -> int:
        """How many there are."""
        return len(self._seen)

    def add(self, picture: Picture, people: People) -> None:
        """Write a frame.

        Raises:
            OSError: The line cannot be written.
            MgtsError: The video cannot be.
        """
        frame, image = picture.frame, picture.image  # which comes down only where it is drawn
        seconds = frame.time if frame.time is not None else float(frame.number)
        tracks = None
        if self._tracker is not None:
            tracks = [int(track) for track in self._tracker.update(seconds, people, cut=frame.cut).tracks]
        alone: int | None = None
        if self._blurring is not None:
            image, alone = self._blurring.hide(picture.pixels, people, seconds, tracks)
        if not self._wanted.track:
            tracks = None
        self._seen.update(tracks or ())
        height, width = image.shape[:2]
        line = {"source": self._input.source, "number": frame.number, "time": frame.time}
        rows = _rows(people, bool(self._wanted.embeddings), self._wanted.blur, alone)
        if tracks is not None:
            rows = [{**row, "track": track} for row, track in zip(rows, tracks, strict=True)]
        text = json.dumps({**line, "image": {"height": height, "width": width}, "people": rows})
        self._lines.write(text + "\n")
        if self._wanted.draw:
            if self._recording is None:
                from mgts_trt.annotating.mp4 import Recording

                self._recording = Recording(self._drawn, (height, width))
            self._recording.add(seconds, self._draw(on_host(image), people, tracks))

    def close(self) -> None:
        """Write what is left; the files are whole then."""
        self._lines.close()
        if self._recording is not None:
            recording, self._recording = self._recording, None
            recording.close()

    def _draw(self, image: Image, people: People, tracks: list[int] | None) -> Image:
        masked = self._wanted.masks and people.has_masks
        labels = None
        if tracks is not None:
            labels = [f"#{track} {score:.2f}" for track, score in zip(tracks, people.scores, strict=True)]
        return draw_people(
            image,
            people.boxes,
            people.scores,
            people.mask if masked else None,
            labels,
            people.boxes_as_masks if masked else None,
            tracks,
        )


def _rows(people: People, embeddings: bool, blur: Blur | None, alone: int | None) -> list[dict[str, Any]]:
    rows: Any = people.to_dict()["people"]
    if blur:
        rows = [{**row, "hidden": place != alone} for place, row in enumerate(rows)]
    return [row if embeddings else {name: row[name] for name in row if name != "embedding"} for row in rows]
