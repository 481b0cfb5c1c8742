"""What makes two embeddings comparable."""

from pydantic import BaseModel, ConfigDict

from mgts_trt._typing import Self
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.choices import Mode
from mgts_trt.errors import GalleryError
from mgts_trt.runtime.modes import MODELS_OF_MODE, mode_dimension, mode_gamma


class Space(BaseModel):
    """The space embeddings lie in: similarity means something between two of the same space only.

    Precision and backend are no part of it: they move an embedding by less than two sightings of a person differ.
    Nor is what decides which people there are: detector, mask net, and the score of a person.

    Attributes:
        model: The network that describes people: `mgts`, `idnet` or `joint`.
        weights: SHA-256 of its checkpoint, or of its ONNX files where the bundle does not tell the checkpoint.
        mode: `none`, `net` or `box` (Table 6): what the network sees as foreground; or `joint`.
        gamma: RoI expand ratio γ (Sec. 4.3); 1 in the modes `none` and `joint`, which do not expand.
        patch: Height and width of what the network sees, pixels.
        embedding: Length of an embedding.
        preset: Of the bundle.
        canvas: Height and width of what patches are cut from, pixels. This and what follows is None in galleries made
            before it was recorded, and then compared with nothing.
        pad: RGB of the canvas where the picture does not reach.
        mean: Taken from a patch's pixels, RGB, 0 … 255.
        std: They are then divided by.
        instance: Least mask-net score of an instance; in mode `net` alone, where masks are the network's.
        mask: Least mask probability of a foreground pixel; likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    weights: str
    mode: Mode
    gamma: float
    patch: tuple[int, int]
    embedding: int
    preset: str
    canvas: tuple[int, int] | None = None
    pad: tuple[int, int, int] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    instance: float | None = None
    mask: float | None = None

    @classmethod
    def of(cls, bundle: Bundle, mode: Mode) -> Self:
        """The space of what a bundle computes in a mode.

        Raises:
            BundleError: The bundle lacks the mode's re-ID network.
        """
        manifest, model = bundle.manifest, MODELS_OF_MODE[mode][-1]
        entry = bundle.model(model)
        return cls(
            model=model,
            weights=manifest.training.checkpoints.get(model) or entry.weights,
            mode=mode,
            gamma=mode_gamma(manifest, mode),
            patch=manifest.patch,
            embedding=mode_dimension(manifest, mode),
            preset=manifest.preset,
            canvas=manifest.canvas,
            pad=manifest.pad,
            mean=manifest.normalisation.mean,
            std=manifest.normalisation.std,
            instance=manifest.thresholds.instance if mode == "net" else None,
            mask=manifest.thresholds.mask if mode == "net" else None,
        )

    def require_same(self, other: "Space", *, what: str = "The gallery") -> None:
        """Refuse embeddings that cannot be compared. What either space does not tell is not compared.

        Args:
            other: The space asked for, as a bundle and a mode give it.
            what: Whose space this is, for the message.

        Raises:
            GalleryError: The two differ; the message says where.
        """
        ours, theirs = self.model_dump(), other.model_dump()
        differing = [name for name in ours if ours[name] != theirs[name] and None not in (ours[name], theirs[name])]
        if differing:
            told = "; ".join(f"{name} {_short(ours[name])} there, {_short(theirs[name])} here" for name in differing)
            raise GalleryError(
                f"{what} holds embeddings that were made otherwise: {told}. They cannot be compared. Use the bundle "
                f"and the mode ({self.mode}) it was made with, or index the pictures into a new gallery."
            )


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 32 else text
