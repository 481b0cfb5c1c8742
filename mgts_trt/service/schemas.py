"""What the service answers, for clients and for `/openapi.json`. Boxes are xyxy, pixels of the picture."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from mgts_trt.choices import Mode

Box: TypeAlias = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels", examples=[[240.0, 63.0, 320.0, 231.0]]),
]
Score: TypeAlias = Annotated[float, Field(ge=0, le=1, description="The detector's", examples=[0.93])]


class Failure(BaseModel):
    """Every error."""

    error: str = Field(
        description="What is wrong, what was expected, and what to do",
        examples=["photo.jpg is not a picture (12 bytes), or is damaged. Send a JPEG, PNG, WebP, BMP or TIFF file."],
    )


class Size(BaseModel):
    """Of a picture, in pixels, as it is shown: EXIF orientation applied."""

    height: int = Field(examples=[600])
    width: int = Field(examples=[1116])


class DetectedPerson(BaseModel):
    """Someone in the picture."""

    box: Box
    score: Score
    mask: Literal["instance", "box"] | None = Field(
        description="What MGTS took for the person: the mask net's instance or the tight box; null in mode none"
    )


class EmbeddedPerson(DetectedPerson):
    """Someone in the picture, described."""

    embedding: list[float] = Field(description="Of length 1: the dot product of two is their similarity")


class Detection(BaseModel):
    """The people of a picture, best first."""

    image: Size
    people: list[DetectedPerson]
    timings_ms: dict[str, float] = Field(examples=[{"detector": 173.1, "total": 217.4}])


class Embedding(BaseModel):
    """The people of a picture and their embeddings: best first, or in the order of the boxes that were sent."""

    image: Size
    people: list[EmbeddedPerson]
    timings_ms: dict[str, float] = Field(examples=[{"detector": 173.1, "total": 217.4}])


class FailedFile(BaseModel):
    """A picture that was not indexed."""

    file: str
    error: str


class Indexed(BaseModel):
    """What became of the pictures; those that failed cost themselves alone."""

    indexed: int = Field(description="Pictures that are in the gallery now, those that were before included")
    people: int = Field(description="Stored by this request")
    failures: list[FailedFile]


class ProbePerson(BaseModel):
    """Whom the gallery was searched for."""

    box: Box
    score: Score
    given_by: Literal["box", "box_xywh", "point", "person", "largest"] = Field(
        description="The form field that said who the probe is; or largest: none did, and it is the largest person"
    )
    embedding: list[float] = Field(description="With own, it repeats this search where the picture is not at hand")
    own: str | None = Field(description="SHA-256 of the probe's picture, whose people were left out; null if none were")


class GalleryPerson(BaseModel):
    """Someone of the gallery, and where they were seen."""

    id: str
    source: str = Field(examples=["store_aisle/0045.jpg"])
    number: int = Field(description="Frame of a video; 0 of a picture")
    camera: str | None
    time: float | None = Field(description="Seconds from the start of a video; Unix seconds of a live stream")
    box: Box
    score: Score
    thumbnail: str | None = Field(description="Path of a JPEG; null if none was kept")
    scene: str = Field(description="Path of the picture they were seen in, as a JPEG where it can still be read")


class SeenSighting(BaseModel):
    """A person followed through the frames of one video or stream, from when they came to when they left."""

    id: str
    source: str
    camera: str | None
    start: float | None = Field(description="Seconds from the start of a video; Unix seconds of a live stream")
    end: float | None = Field(description="When it ended, or until when it has been followed")
    first: int = Field(description="Its first frame")
    last: int = Field(description="Its last frame")
    frames: int = Field(description="In how many frames of the gallery")
    closed: bool = Field(description="False while it may go on")
    best: list[GalleryPerson] = Field(description="Up to three of its frames that show the person well, the best first")
    thumbnail: str = Field(description="Path of a JPEG of the best of them; 404 if none was kept")
    people: str = Field(description="Path of the person frame by frame")


class WholeSighting(SeenSighting):
    """A sighting, and where it went."""

    path: list[list[float]] = Field(
        description="Up to 32 points: seconds since its start, and the box then, x1, y1, x2, y2 in pixels",
        examples=[[[0.0, 240.0, 63.0, 320.0, 231.0]]],
    )


class SightingsPage(BaseModel):
    """Sightings of the gallery, by source and first frame."""

    sightings: list[SeenSighting]
    total: int = Field(description="On all pages")


class Match(GalleryPerson):
    """Someone of the gallery, ranked: a sighting by its best frame, or somebody in a photo or a single frame."""

    rank: int = Field(ge=1)
    likeness: float = Field(
        ge=-1,
        le=1,
        description="Similarity: the cosine of the embedding and the probe's; of several probes the mean, less by what "
        "negatives take away",
        examples=[0.835],
    )
    false_matches: float | None = Field(
        description="Share of pairs of different people that look at least so alike; null where the bundle is not "
        "calibrated in this mode",
        examples=[0.00042],
    )
    sighting: SeenSighting | None = Field(description="Null of somebody in a photo, or in a single frame")


class Calibration(BaseModel):
    """What the false-match rates are known from."""

    people: int
    pairs: int = Field(description="Of different people")
    of: str = Field(description="The sets they are of")
    least: float = Field(description="The smallest rate that so many pairs tell; it stands for lesser ones, too")


class Matches(BaseModel):
    """Whom the gallery holds that is most similar to the probe, the most similar first."""

    probe: ProbePerson | None = Field(description="The first; null where only embeddings were sent")
    probes: list[ProbePerson] = Field(description="All that pictures and the gallery gave")
    people: int = Field(description="In the gallery")
    kind: Literal["sightings", "frames"] = Field(description="What was searched; photos are among both")
    calibration: Calibration | None = Field(description="Null where the bundle is not calibrated in this mode")
    more: bool = Field(description="Whether a greater offset gives further matches")
    matches: list[Match]


class PeoplePage(BaseModel):
    """People of the gallery, by source and frame."""

    people: list[GalleryPerson]
    total: int = Field(description="On all pages")


class SeenCamera(BaseModel):
    """A camera whose frames the gallery holds."""

    camera: str | None = Field(description="Null for frames of which no camera was told")
    frames: int
    people: int
    first: float | None = Field(description="Least time, seconds; null where no frame has one")
    last: float | None = Field(description="Greatest time, seconds")


class Cameras(BaseModel):
    """The gallery's cameras, by name."""

    cameras: list[SeenCamera]


class SeenSource(BaseModel):
    """A picture, video or stream that the gallery holds."""

    source: str
    cameras: list[str]
    frames: int
    people: int
    first: float | None = Field(description="Least time, seconds; null where no frame has one")
    last: float | None = Field(description="Greatest time, seconds")


class SourcesPage(BaseModel):
    """Sources of the gallery, by name."""

    sources: list[SeenSource]
    total: int = Field(description="On all pages")


class Forgotten(BaseModel):
    """What was erased."""

    source: str
    people: int


class Leaving(GalleryPerson):
    """Who would be forgotten: a sighting by its best frame, or somebody in a photo."""

    likeness: float | None = Field(description="The greatest, of their frames; null where no person was named")
    sighting: SeenSighting | None = Field(description="Null of somebody in a photo")


class Chosen(BaseModel):
    """Who would be forgotten, or has been."""

    dry_run: bool = Field(description="Whether nothing was changed")
    people: int = Field(description="Embeddings in all, one of each frame that somebody is in", examples=[25])
    sightings: int
    photos: int = Field(description="People in photos")
    timeless: int = Field(description="People who were not asked for their time, since none of a clock is known")
    files: int = Field(description="Files that lie whole within, and stay out from then on")
    leaving: list[Leaving] = Field(
        description="Some of them, the most alike first; of more, the most and the least alike. Empty once they have "
        "been forgotten, and for a key without the role search"
    )


class Recalled(BaseModel):
    """What may be indexed again."""

    recalled: int = Field(description="How many were forgotten by that name, or with that content")


class GallerySize(BaseModel):
    """What the gallery holds."""

    people: int
    frames: int


class Ready(BaseModel):
    """Pictures are searched at once."""

    status: Literal["ready"] = "ready"


class Health(BaseModel):
    """The service is up."""

    status: Literal["ok"] = "ok"
    version: str
    preset: str
    mode: Mode
    backend: str
    device: str
    has_gallery: bool = Field(description="Whether there is a gallery to search")
    gallery: GallerySize | None = Field(description="How much it holds; null without one, or without the key")
    space: str | None = Field(
        description="Preset, mode and weights of the gallery's embeddings: those of another are not comparable"
    )
    key_needed: bool = Field(description="Whether requests need the header X-API-Key")
