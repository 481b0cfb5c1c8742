"""The tables of a gallery that is not there yet."""

from functools import partial

from mgts_trt.gallery import picture_key
from mgts_trt.gallery.disk.place import Place
from mgts_trt.gallery.lance import connect, explained, retried
from mgts_trt.gallery.space import Space
from mgts_trt.gallery.tables import FRAMES, PEOPLE, SIGHTINGS, frames_schema, people_schema, sightings_schema


def make(location: str, space: Space, key: bytes | None = None) -> None:
    """Make a gallery without people; where another process makes one at the same time, the first one's stays.

    Args:
        location: As `locate` gives it.
        space: Of the embeddings to come.
        key: 32 bytes under which pictures will be encrypted; None where they will not.

    Raises:
        GalleryError: It cannot be made there.
    """
    database = connect(location)
    with explained("make", location), Place(location).guard.shared():
        # The table that tells the space comes last: where it is, the gallery is whole.
        if key is not None:
            picture_key.make(database, key)
        people = people_schema(space, encrypted=key is not None)
        schemas = {FRAMES: frames_schema(), SIGHTINGS: sightings_schema(space), PEOPLE: people}
        for name, schema in schemas.items():
            try:
                retried(partial(database.create_table, name, schema=schema, exist_ok=True))
            except (RuntimeError, ValueError) as error:
                if "does not match existing" not in str(error):
                    raise
                return  # of another space or format: opening it says which
