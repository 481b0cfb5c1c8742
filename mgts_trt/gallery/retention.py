"""How long a gallery keeps people, and what goes when that is over; and what goes since its file has gone."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mgts_trt.errors import GalleryError
from mgts_trt.gallery.erasure import Erased, erase, of_sources
from mgts_trt.gallery.lance import explained, retried
from mgts_trt.gallery.opened import Opened
from mgts_trt.gallery.source_names import names_of
from mgts_trt.gallery.tables import FRAMES, PEOPLE, SIGHTING, SIGHTINGS

_NAME = "policy"

CLOCK = 1e8
"""Times from here on are of a clock (1973); earlier ones are seconds into a video."""


@dataclass(frozen=True)
class Policy:
    """How long people are kept after they were seen, by the clock of their camera.

    Attributes:
        keep: Seconds; None for ever.
        cameras: Camera → seconds, instead of `keep`.
    """

    keep: float | None = None
    cameras: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.keep is not None or bool(self.cameras)


def read_policy(gallery: Opened) -> Policy:
    """What was set.

    Raises:
        GalleryError: It is damaged.
    """
    with explained("read", gallery.url):
        text = None if gallery.place.notes is None else gallery.place.notes.read(_NAME)
    if text is None:
        return Policy()
    try:
        told = json.loads(text)
        keep = None if told["keep"] is None else float(told["keep"])
        return Policy(keep, {str(name): float(seconds) for name, seconds in told["cameras"].items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GalleryError(
            f"What tells how long people are kept in the gallery {gallery.url} is damaged. Set it anew: mgts-trt "
            "gallery policy."
        ) from error


def set_policy(gallery: Opened, policy: Policy) -> None:
    """Keep people so long from now on; `expire` does it.

    Raises:
        GalleryError: It cannot be written.
    """
    # Who is alone removes files without names.
    with explained("write to", gallery.url), gallery.place.guard.shared():
        if gallery.place.notes is not None:
            text = json.dumps({"keep": policy.keep, "cameras": dict(policy.cameras)})
            gallery.place.notes.change(_NAME, lambda _: text, step="put the policy in place")


def expire(gallery: Opened, policy: Policy | None = None, *, now: float | None = None) -> Erased:
    """Erase people whose time is over, as `forget` does, but that they may come again.

    A sighting goes as a whole, when its last frame is too old. People in files of which no clock is known stay: they
    follow their files, see `vanished`.

    Args:
        gallery: Which.
        policy: By default that which was set.
        now: Unix seconds.

    Raises:
        GalleryError: See `erase`.
    """
    from lancedb.expr import col

    policy, now = read_policy(gallery) if policy is None else policy, time.time() if now is None else now
    if not policy:
        return Erased(0, 0, 0)
    people, _ = gallery.tables
    over = _over(policy, "time", now)
    conditions = {PEOPLE: over, FRAMES: over}
    if gallery.sightings is not None:
        with explained("read", gallery.url):
            # Of sightings that go on, people and frames stay.
            last = _over(policy, "last_time", now)
            going = gallery.sightings.search().where(f"({_over(policy, 'first_time', now)}) AND NOT ({last})")
            names = retried(going.select(["id"]).to_arrow)["id"].to_pylist()
            if names:
                stay = col(SIGHTING).isin(names).to_sql()
                keys = retried(people.search().where(stay).select(["frame"]).to_arrow)["frame"].unique().to_pylist()
                conditions[PEOPLE] = f"({over}) AND ({SIGHTING} IS NULL OR NOT ({stay}))"
                conditions[FRAMES] = f"({over}) AND NOT ({col('key').isin(keys).to_sql()})"
            conditions[SIGHTINGS] = last
    return erase(gallery, conditions, "expire")


def vanished(gallery: Opened, folders: Sequence[str | Path]) -> tuple[list[str], int]:
    """Sources below some folders whose files are not there, and how many sources there are below them.

    Args:
        gallery: Which.
        folders: They must exist: of a disk that is not mounted, all files would seem to have gone.

    Raises:
        GalleryError: A folder is not there, or the gallery cannot be read.
    """
    roots = [os.path.abspath(folder) for folder in folders]
    for root in roots:
        if not os.path.isdir(root):
            raise GalleryError(f"There is no folder {root}. Is its disk mounted? Name folders that were indexed.")
    below = sorted(name for name in names_of(gallery) if any(name.startswith(os.path.join(root, "")) for root in roots))
    return [name for name in below if not os.path.lexists(name)], len(below)


def erase_sources(gallery: Opened, sources: Sequence[str], reason: str) -> Erased:
    """Erase all that some sources brought; indexed again, they come back.

    Raises:
        GalleryError: See `erase`.
    """
    return erase(gallery, of_sources(*sources), reason) if sources else Erased(0, 0, 0)


def _over(policy: Policy, column: str, now: float) -> str:
    """SQL that holds for what is too old by a column of times."""
    from lancedb.expr import col, lit

    time, camera = col(column), col("camera")
    parts = [(camera.isin([name]) & (time < lit(now - seconds))).to_sql() for name, seconds in policy.cameras.items()]
    if policy.keep is not None:
        old = (time < lit(now - policy.keep)).to_sql()
        others = f"(camera IS NULL OR NOT ({camera.isin(sorted(policy.cameras)).to_sql()}))"
        parts.append(f"({old} AND {others})" if policy.cameras else old)
    return f"{(time > lit(CLOCK)).to_sql()} AND ({' OR '.join(parts)})"
