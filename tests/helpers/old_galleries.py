"""Galleries as older versions made them: the tables of format 2, written without the code of today."""

import json
from collections.abc import Sequence
from pathlib import Path

from mgts_trt.gallery import Entry, Space

_KEY = {"lance-schema:unenforced-primary-key:position": "1"}


def write_format_2(place: Path, space: Space, entries: Sequence[Entry]) -> None:
    """A gallery of format 2 with some frames."""
    import lancedb
    import pyarrow as pa

    seen = [
        pa.field("source", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("time", pa.float64()),
        pa.field("camera", pa.string()),
        pa.field("sha256", pa.string(), nullable=False),
    ]
    people = pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata=_KEY),
            pa.field("frame", pa.string(), nullable=False),
            *seen,
            pa.field("box", pa.list_(pa.float32(), 4), nullable=False),
            pa.field("score", pa.float32(), nullable=False),
            pa.field("thumbnail", pa.binary(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), space.embedding), nullable=False),
        ],
        metadata={b"mgts_trt.gallery": json.dumps({"format": 2, "space": space.model_dump(mode="json")})},
    )
    frames = pa.schema(
        [
            pa.field("key", pa.string(), nullable=False, metadata=_KEY),
            *seen,
            pa.field("people", pa.int32(), nullable=False),
        ]
    )
    told = [{name.name: getattr(each.frame, name.name) for name in seen} for each in entries]
    rows = [
        {
            "id": f"{each.frame.key}-{i}",
            "frame": each.frame.key,
            **about,
            "box": each.people.boxes[i].tolist(),
            "score": float(each.people.scores[i]),
            "thumbnail": each.thumbnails[i] if each.thumbnails else b"",
            "embedding": each.people.embeddings[i].tolist(),
        }
        for each, about in zip(entries, told, strict=True)
        for i in range(len(each.people))
    ]
    done = [
        {"key": each.frame.key, **about, "people": len(each.people)} for each, about in zip(entries, told, strict=True)
    ]
    database = lancedb.connect(place)
    database.create_table("frames", pa.Table.from_pylist(done, schema=frames))
    database.create_table("people", pa.Table.from_pylist(rows, schema=people))
