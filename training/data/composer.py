"""Person-search scenes with known answers: masked people pasted into streets."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.backgrounds import EmptyScenes
from training.data.cutouts import SOLID, CutOut, cut_out, find_people, resize_cutout
from training.data.files import DataError, Instances, instance_boxes, keep_instances
from training.data.picture import Perspective, Picture, draw_perspective
from training.data.scene import UNKNOWN, Scene, Scenes
from training.data.sources import files_of
from training.data.transforms import crop, flip, jitter_colour, through_camera, to_canvas

# Pairs are ranges, drawn from uniformly. "By eye" means that composed scenes look plausible with the number; what the
# trained networks owe to it was not measured.

_MAX_ENLARGEMENT = 2.2
"""By eye: a cut-out shown larger than this is visibly blurred, which would give it away."""

_STATURE = (0.93, 1.07)
"""Of a person, in shares of the mean: people are not all equally tall. Adults of one sex vary by 4 % (one standard
deviation), as this range does."""

_WINDOW = (0.75, 1.0)
"""Share of the widest possible window that a scene shows of its background; by eye: one background gives many scenes,
and its picture is enlarged by a third at most."""

_MIRRORED = 0.5
"""Share of backgrounds and of people that are mirrored: streets and people have no preferred side."""

_NARROWING = (0.92, 1.08)
"""Factor of the width of a cut-out beside its height: people are not all equally broad. By eye."""

_NARROWING_OF_CROPS = (0.72, 0.92)
"""The same of a cut-out whose dataset brings all people to one shape (`CutOut.reshaped`). Measured: the median cut-out
of Market-1501 is 0.50 times as wide as high, that of Penn-Fudan 0.38, a factor of 0.76."""

_FEATHER = (0.6, 1.1)
"""Standard deviation of the blur of a pasted edge, pixels: by eye, as sharp as photographs are."""

_DECOY_HEIGHTS = (32, 0.5)
"""Least height of a decoy in pixels, and greatest in shares of the scene's height: as a small and a middling person."""

_CAMERA_SHARE = 0.5
"""Share of the scenes that get each fault of `through_camera`, so that clean pictures occur too."""


@dataclass(frozen=True)
class Composition:
    """How scenes are composed.

    Attributes:
        size: Greatest height and width of a scene, pixels. A scene reaches one of them; a background less wide than
            that gives a scene less wide, down to a square. By default the canvas of the preset `edge`.
        people: Least and most people pasted into a scene. By default by eye: a street, not a crowd.
        heights: Least and most height of a pasted person, in shares of the scene's height. By default those of
            Penn-Fudan (measured: 98 of 100 people lie between 0.11 and 0.91).
        hidden: A person of whom more than this share is hidden, behind others or past the picture's edge, is not
            labelled. By default by eye: of less than three tenths nobody could tell who it is.
        outside: Greatest share of a person's width that may lie beyond the left or right edge of the scene. By default
            by eye; it keeps the people labelled, together with what hides them.
        deepest: Lowest row of a person's feet, in shares of the scene's height. By default a little below it, so that
            some people lack their feet, as those near a camera do; by eye.
        decoys: Most things pasted into a scene that have soft edges as people have, but are nobody. By default fewer
            than the people, since only their edges are to teach anything.
        colour: Strength of the colour jitter, for each person and for the scene; see `jitter_colour`. By default by
            eye: the two together are about as strong as the augmentation of photographed scenes.
    """

    size: tuple[int, int] = (480, 800)
    people: tuple[int, int] = (2, 7)
    heights: tuple[float, float] = (0.1, 0.9)
    hidden: float = 0.7
    outside: float = 0.3
    deepest: float = 1.1
    decoys: int = 2
    colour: float = 0.4

    def __post_init__(self) -> None:
        checks = {
            "size": (min(self.size) >= 32, "at least 32 pixels a side"),
            "people": (0 <= self.people[0] <= self.people[1] <= 1000, "0 ≤ least ≤ most ≤ 1000"),
            "heights": (0 < self.heights[0] <= self.heights[1], "0 < least ≤ most"),
            "hidden": (0 <= self.hidden < 1, "0 ≤ hidden < 1"),
            "outside": (0 <= self.outside < 1, "0 ≤ outside < 1"),
            "deepest": (self.deepest > 0, "more than 0"),
            "decoys": (self.decoys >= 0, "no negative number"),
            "colour": (0 <= self.colour <= 1, "a number from 0 to 1"),
        }
        for name, (fits, expected) in checks.items():
            if not fits:
                raise DataError(f"A composition's {name} is {getattr(self, name)}, but it must be {expected}.")


CUT_OFF = Composition(people=(3, 9), heights=(0.1, 1.4), outside=0.6, deepest=1.6)
"""More people, one in front of another, and half of the near ones cut off by the picture's edge: for masks, which must
end where a person does, and not where people usually end. By eye."""


CROWDED = Composition(people=(6, 16), heights=(0.15, 0.9))
"""Many people, few of them tiny: to learn who is who from each picture as much as it can show. By eye."""


class Composer:
    """`Scenes` of people pasted into backgrounds, with boxes, instance maps, identities and cameras.

    Scene `index` depends on the arguments, `seed` and `index` alone. All its pasted people come from one camera, which
    becomes the scene's; no identity occurs twice. Sizes follow a perspective: a ground plane below a horizon, people
    whose feet are lower are larger and in front. A box is the extent of the person's visible pixels in the instance
    map. People of the background stay in the picture with their labels as `UNKNOWN` identities, so a background that
    shows people must have masks for them; they set the perspective.

    Args:
        people: Scenes with masks; who is usable decides `find_people`, which reads them all once.
        backgrounds: Scenes, or files of pictures that show nobody.
        length: How many scenes there are.
        seed: Not negative.
        composition: How scenes are composed; None is the default.

    Raises:
        DataError: no usable people, no backgrounds, or a bad number (when made); a background with people but without
            masks (when its scene is asked for).
    """

    def __init__(
        self,
        people: Scenes,
        backgrounds: Scenes | Sequence[Path],
        *,
        length: int,
        seed: int,
        composition: Composition | None = None,
    ):
        if length < 1 or seed < 0:
            raise DataError(f"length is {length} and seed {seed}, but a length of at least 1 and a seed ≥ 0 are due.")
        if not len(backgrounds):
            raise DataError("There are no backgrounds, but people are pasted into some. Pass at least one picture.")
        if isinstance(backgrounds, Sequence):
            backgrounds = EmptyScenes({Path(path): (0.0, 0.0, 1.0, 1.0) for path in backgrounds})
        self.identity_count = people.identity_count
        self._scenes, self._backgrounds = people, backgrounds
        self._people = find_people(people)
        self._length, self._seed = length, seed
        self._composition = composition or Composition()

    def __len__(self) -> int:
        """How many scenes there are."""
        return self._length

    def files_of(self, indices: Iterable[int]) -> set[Path]:
        """The pictures of everybody who may be pasted, and all backgrounds: any scene may show any of them."""
        people = files_of(self._scenes, np.unique(self._people.scenes).tolist())
        return people | files_of(self._backgrounds)

    def __getitem__(self, index: int) -> Scene:
        """Compose one scene."""
        if not 0 <= index < self._length:
            raise IndexError(f"scene {index} of {self._length}")
        how, generator = self._composition, np.random.default_rng((self._seed, index))
        chosen = self._choose(generator)
        background, instances = self._background(generator)
        perspective = draw_perspective(background, generator)
        picture = Picture(background, instances)
        for _ in range(generator.integers(how.decoys + 1)):
            self._paste_decoy(picture, perspective, generator)
        plans = []
        for person in chosen:
            scene = self._scenes[int(self._people.scenes[person])]
            cutout = cut_out(scene, int(self._people.rows[person]))
            if cutout is None:
                raise DataError(f"The mask of {scene.name} changed since the composer was made. Make it anew.")
            height = self._draw_height(cutout, perspective, len(picture.image), generator)
            feet = perspective.feet(height / generator.uniform(*_STATURE))
            plans.append((feet, height, cutout, int(self._people.identities[person])))
        # The farthest first: whoever stands nearer is in front.
        for feet, height, cutout, identity in sorted(plans, key=lambda plan: plan[0]):
            self._paste_person(picture, cutout, feet, height, identity, generator)
        camera = int(self._people.cameras[chosen[0]]) if len(chosen) else UNKNOWN
        return self._finish(picture, f"{self._seed}-{index:06d}", camera, generator)

    def _choose(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Numbers of distinct people who were seen by one camera."""
        people = self._people
        count = int(generator.integers(self._composition.people[0], self._composition.people[1] + 1))
        camera = people.cameras[generator.integers(len(people.cameras))]
        candidates = generator.permutation(np.flatnonzero(people.cameras == camera))
        identities = people.identities[candidates]
        # An unlabelled person counts as somebody else each time.
        distinct = np.where(identities == UNKNOWN, -1 - np.arange(len(identities)), identities)
        first = np.sort(np.unique(distinct, return_index=True)[1])
        return candidates[first[:count]].astype(np.int64)

    def _background(self, generator: np.random.Generator) -> tuple[Scene, Instances]:
        """Part of a background at the size of a scene, and its instance map."""
        scene = self._backgrounds[int(generator.integers(len(self._backgrounds)))]
        if len(scene.boxes) and scene.instances is None:
            raise DataError(
                f"The background {scene.name} shows {len(scene.boxes)} people but has no masks, so nobody could be "
                "pasted in front of or behind them. Use backgrounds without people or with masks."
            )
        height, width = scene.image.shape[:2]
        rows, columns = self._composition.size
        # A window as wide as the greatest scene, or less wide where the background is.
        widest = generator.uniform(*_WINDOW) * np.array((min(width, height * columns / rows), min(height, width)))
        size = np.maximum(np.floor(widest).astype(int), 1)
        x1, y1 = (int(generator.integers(room + 1)) for room in np.array((width, height)) - size)
        scene = crop(scene, (x1, y1, x1 + int(size[0]), y1 + int(size[1])))
        if generator.random() < _MIRRORED:
            scene = flip(scene)
        canvas, letterbox = to_canvas(scene, self._composition.size, (0, 0, 0))
        height, width = letterbox.content_hw
        instances = np.zeros((height, width), np.uint16)
        if canvas.instances is not None:
            instances = canvas.instances[:height, :width]
        boxes = instance_boxes(instances, len(scene.boxes))
        image = np.ascontiguousarray(canvas.image[:height, :width])
        return replace(scene, image=image, boxes=boxes, instances=instances), instances

    def _draw_height(
        self, cutout: CutOut, perspective: Perspective, rows: int, generator: np.random.Generator
    ) -> float:
        """A height that the cut-out bears and at which the feet are in the picture or a little below."""
        low, high = (share * rows for share in self._composition.heights)
        lowest = perspective.slope * (self._composition.deepest * rows - perspective.horizon)
        high = max(low, min(high, _MAX_ENLARGEMENT * cutout.height, lowest))
        return math.exp(generator.uniform(math.log(low), math.log(high)))

    def _paste_person(
        self,
        picture: Picture,
        cutout: CutOut,
        feet: float,
        height: float,
        identity: int,
        generator: np.random.Generator,
    ) -> None:
        narrowing = generator.uniform(*(_NARROWING_OF_CROPS if cutout.reshaped else _NARROWING))
        image, opacity = resize_cutout(cutout, height, generator.uniform(*_FEATHER), narrowing)
        if generator.random() < _MIRRORED:
            image, opacity = image[:, ::-1], opacity[:, ::-1]
        image = jitter_colour(np.ascontiguousarray(image), generator, generator.uniform(0, self._composition.colour))
        width = image.shape[1]
        outside = self._composition.outside
        left = round(generator.uniform(-outside * width, picture.image.shape[1] - (1 - outside) * width))
        # The mask ends a margin above the bottom of the cut-out's picture.
        bottom = np.flatnonzero((opacity >= SOLID).any(1)).max(initial=-1) + 1
        top = round(feet) - int(bottom)
        image = picture.light(image, opacity, (left, top))
        picture.paste(image, opacity, (left, top), feet, identity)

    def _paste_decoy(self, picture: Picture, perspective: Perspective, generator: np.random.Generator) -> None:
        """Paste a piece of another background in the outline of a person on the head: an edge alone is nobody."""
        person = int(generator.integers(len(self._people.scenes)))
        scene = self._scenes[int(self._people.scenes[person])]
        cutout = cut_out(scene, int(self._people.rows[person]))
        texture = self._backgrounds[int(generator.integers(len(self._backgrounds)))]
        least, share = _DECOY_HEIGHTS
        height = math.exp(generator.uniform(math.log(least), math.log(share * picture.image.shape[0])))
        if cutout is None:
            return
        _, opacity = resize_cutout(cutout, height, generator.uniform(*_FEATHER))
        rows, columns = opacity.shape
        if rows > texture.image.shape[0] or columns > texture.image.shape[1]:
            return
        y = int(generator.integers(texture.image.shape[0] - rows + 1))
        x = int(generator.integers(texture.image.shape[1] - columns + 1))
        window = (slice(y, y + rows), slice(x, x + columns))
        if len(texture.boxes) and (texture.instances is None or texture.instances[window].any()):
            return
        top = round(perspective.feet(height)) - rows
        left = int(generator.integers(-columns // 2, picture.image.shape[1] - columns // 2))
        picture.paste(texture.image[window], opacity[::-1], (left, top), -math.inf, None)

    def _finish(self, picture: Picture, name: str, camera: int, generator: np.random.Generator) -> Scene:
        """Label who is visible, and give the picture the looks of one camera."""
        kept = picture.visible_rows(self._composition.hidden)
        instances = keep_instances(picture.instances, kept)
        image = jitter_colour(picture.image, generator, generator.uniform(0, self._composition.colour))
        image = through_camera(image, generator, _CAMERA_SHARE)
        identities = np.array(picture.identities, np.int64)[kept]
        boxes = instance_boxes(instances, len(kept))
        return Scene(name, image, boxes, identities, instances, camera)
