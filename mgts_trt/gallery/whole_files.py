"""What goes of frames when all that a camera saw, or a time, is forgotten: those of streams, and of whole files."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from mgts_trt.gallery.erasure import KeptOut
from mgts_trt.gallery.filters import Filter
from mgts_trt.gallery.lance import retried

if TYPE_CHECKING:
    from mgts_trt.gallery.store import Gallery

_TAKEN = "people >= 0"
"""Of rows of `frames` that are frames; others tell of a video's end."""


class KeptFrames(NamedTuple):
    """What becomes of frames."""

    condition: str
    """SQL of the rows of `frames` that go; empty if none do."""
    keep_out: tuple[KeptOut, ...]
    """Files that are not indexed again."""


def frames_within(gallery: "Gallery", within: Filter) -> KeptFrames:
    """The frames that go with all people who fulfil conditions.

    Of a file of which every frame fulfils them, all goes, its name, too, and it stays out. Of one that lies partly
    within, frames stay, as searched: else its people would come back. A stream's moments do not come again, so its
    frames go, and it may be watched on.

    Args:
        gallery: Which.
        within: At least one condition.
    """
    inside = within.expression().to_sql()
    streams = f"({inside}) AND sha256 = ''"
    of_files = _files(gallery, f"{_TAKEN} AND sha256 != '' AND ({inside})")
    if not of_files:
        return KeptFrames(streams, ())
    every = _files(gallery, f"{_TAKEN} AND sha256 != '' AND ({_among('source', of_files)})")
    outside = {
        source: {content for content, count in contents.items() if count > of_files[source].get(content, 0)}
        for source, contents in every.items()
    }
    whole = {source: set(contents) - outside.get(source, set()) for source, contents in of_files.items()}
    pure = sorted(source for source in whole if not outside.get(source))
    mixed = sorted(source for source, contents in whole.items() if outside.get(source) and contents)
    parts = [streams, *([f"sha256 != '' AND ({_among('source', pure)})"] if pure else [])]
    parts += [f"({_among('source', [each])}) AND ({_among('sha256', whole[each])})" for each in mixed]
    keep_out = [KeptOut(each, whole[each]) for each in pure] + [KeptOut("", whole[each]) for each in mixed]
    return KeptFrames(" OR ".join(f"({part})" for part in parts), tuple(keep_out))


def _files(gallery: "Gallery", condition: str) -> dict[str, dict[str, int]]:
    """Source → SHA-256 of its content → how many frames."""
    query = gallery.tables[1].search().where(condition).select(["source", "sha256"])
    rows = retried(query.to_arrow)
    found: dict[str, dict[str, int]] = defaultdict(dict)
    counted = rows.group_by(["source", "sha256"]).aggregate([([], "count_all")]).to_pylist()
    for row in counted:
        found[row["source"]][row["sha256"]] = row["count_all"]
    return dict(found)


def _among(column: str, values: Any) -> str:
    from lancedb.expr import col

    sql: str = col(column).isin(sorted(values)).to_sql()
    return sql
