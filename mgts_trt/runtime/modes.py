"""The modes: the rows of the paper's Table 6, with what each makes of a picture before re-ID, and the joint network."""

from mgts_trt._typing import Array, Image
from mgts_trt.bundle.bundle import Bundle
from mgts_trt.bundle.manifest import Manifest
from mgts_trt.choices import MODES, Mode
from mgts_trt.errors import BackendError, BundleError
from mgts_trt.stages import InstanceMap, Letterbox, Patches, paint_instances, person_patches

MODELS_OF_MODE: dict[Mode, tuple[str, ...]] = {
    "none": ("detector", "idnet"),
    "net": ("detector", "masknet", "mgts"),
    "box": ("detector", "mgts"),
    "joint": ("joint",),
}
"""The models each mode runs; the first one finds people, and the last one describes them."""

_PREFERRED: tuple[Mode, ...] = ("net", "box", "none", "joint")
"""Which mode is meant where none is named: the first of these that the bundle holds."""


def held_modes(manifest: Manifest, precision: str | None = None) -> tuple[Mode, ...]:
    """The modes whose models a bundle holds, in the order of Table 6.

    Args:
        manifest: The bundle's.
        precision: In which it must hold them; None takes any.
    """
    held = {name for name, model in manifest.models.items() if precision is None or precision in model.files}
    return tuple(mode for mode in MODES if held.issuperset(MODELS_OF_MODE[mode]))


def default_mode(bundle: Bundle) -> Mode:
    """The mode that is meant where none is named: `net` where the bundle holds its models, else `box`, `none`, `joint`.

    Raises:
        BundleError: It holds no mode's models.
    """
    held = held_modes(bundle.manifest)
    for mode in _PREFERRED:
        if mode in held:
            return mode
    models = ", ".join(bundle.manifest.models) or "no model"
    raise BundleError(f"The bundle {bundle.root} holds {models}, too few for any mode. Export it again with all.")


def require_mode(bundle: Bundle, mode: Mode) -> None:
    """Refuse a mode that there is not, or that the bundle does not hold.

    Raises:
        BackendError: There is no such mode.
        BundleError: The bundle lacks a model of it.
    """
    if mode not in MODES:
        raise BackendError(f"There is no mode {mode!r}; the modes are {', '.join(MODES)}.")
    if missing := [name for name in MODELS_OF_MODE[mode] if name not in bundle.manifest.models]:
        held = held_modes(bundle.manifest)
        advice = f"Take --mode {default_mode(bundle)}, or a bundle with all models" if held else "Export it again"
        raise BundleError(
            f"The bundle {bundle.root} has no {' and no '.join(missing)}, which mode {mode} runs; it holds "
            f"{', '.join(bundle.manifest.models)}. {advice}."
        )


def mode_dimension(manifest: Manifest, mode: Mode) -> int:
    """How many numbers an embedding of a mode has; the joint network's need not be as long as the others'."""
    model = manifest.models.get(MODELS_OF_MODE[mode][-1])
    outputs = model.outputs if model else {}
    described = outputs.get("embeddings") or outputs.get("embedding")
    return int(described.shape[-1]) if described else manifest.embedding


def mode_gamma(manifest: Manifest, mode: Mode) -> float:
    """The RoI expand ratio γ of a mode (Sec. 4.3).

    Mode `none` takes the original RoI without expansion: Table 6's first row is Table 4's "O", not "O + E". So does
    `joint`, which has no patches.
    """
    return 1.0 if mode in ("none", "joint") else manifest.gamma


def mode_patches(
    manifest: Manifest, mode: Mode, canvas: Image, boxes: Array, instance_map: InstanceMap | None, letterbox: Letterbox
) -> Patches:
    """The re-ID patches of boxes on a canvas, as `mode` makes them: see `stages.person_patches` and `mode_gamma`.

    Args:
        manifest: γ, size and normalisation of the patches.
        mode: Chooses γ alone; the mask comes from `instance_map`.
        canvas: uint8 [Hc, Wc, 3], RGB.
        boxes: float [N, 4], xyxy, canvas pixels.
        instance_map: uint16 [Hc, Wc], or None: then the tight boxes are the masks.
        letterbox: Where the picture lies on the canvas.

    Returns:
        float32 [N, 3, h, w], normalised: foreground and original.
    """
    return person_patches(
        canvas,
        boxes,
        instance_map,
        gamma=mode_gamma(manifest, mode),
        patch_hw=manifest.patch,
        mean=manifest.normalisation.mean,
        std=manifest.normalisation.std,
        content_hw=letterbox.content_hw,
    )


def mode_instance_map(manifest: Manifest, mode: Mode, boxes: Array, scores: Array, masks: Array) -> InstanceMap | None:
    """The mask net's rows painted with the bundle's thresholds in mode `net`; None in the others.

    Args:
        manifest: Canvas and thresholds.
        mode: `net`, or another.
        boxes: float32 [K, 4], xyxy, canvas pixels.
        scores: float32 [K], 0 … 1.
        masks: float32 [K, m, m], probabilities over the boxes.

    Returns:
        uint16 [Hc, Wc]: see `stages.paint_instances`.
    """
    if mode != "net":
        return None
    return paint_instances(
        boxes,
        scores,
        masks,
        manifest.canvas,
        score_threshold=manifest.thresholds.instance,
        mask_threshold=manifest.thresholds.mask,
    )
