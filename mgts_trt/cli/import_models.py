"""`mgts-trt import`: other people's ONNX files made into a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mgts_trt.cli.console import out, progress, table, warn
from mgts_trt.errors import MgtsError

if TYPE_CHECKING:
    from mgts_trt.importing.import_bundle import Prepared

_RE_ID, _DETECTOR = "Re-ID network", "Detector, or joint network"

Text = str | None
Preset = Literal["torchreid", "fastreid", "clip-reid", "tao"]
Family = Literal["yolox", "yolov5", "yolov8", "end-to-end", "detr", "ssd", "detections", "fastestdet"]
Colour = Literal["rgb", "bgr"]
Resize = Literal["bilinear", "opencv-bilinear", "opencv-bicubic", "pil-bilinear", "pil-bicubic"]


def import_models(
    reid: Annotated[Path | None, typer.Option(help="ONNX file that describes crops of people.", metavar="FILE")] = None,
    detector: Annotated[Path | None, typer.Option(help="ONNX file that finds people.", metavar="FILE")] = None,
    joint: Annotated[
        Path | None, typer.Option(help="ONNX file that finds and describes people at once, alone.", metavar="FILE")
    ] = None,
    into: Annotated[Path | None, typer.Option(help="A bundle whose other models are kept.", metavar="BUNDLE")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write the bundle to; by default that of --into.")
    ] = None,
    licence: Annotated[Text, typer.Option(help="Terms of the files, kept in the bundle.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Least score of a person; by default 0.5, or that of --into.", min=0, max=1)
    ] = None,
    golden: Annotated[
        list[Path] | None, typer.Option(help="Picture to compare on; may be given more than once.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what was recognised, and write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    reid_preset: Annotated[
        Preset | None,
        typer.Option(help="Whose re-ID network it is; by default torchreid's.", rich_help_panel=_RE_ID),
    ] = None,
    reid_size: Annotated[
        Text, typer.Option(help="HEIGHTxWIDTH, where the file leaves them open.", rich_help_panel=_RE_ID)
    ] = None,
    reid_colours: Annotated[Colour | None, typer.Option(help="Order of channels.", rich_help_panel=_RE_ID)] = None,
    reid_range: Annotated[
        int | None,
        typer.Option(help="What pixels go up to before mean and std: 1 or 255.", rich_help_panel=_RE_ID),
    ] = None,
    reid_mean: Annotated[
        Text, typer.Option(help="A,B,C in that range, in the order of channels.", rich_help_panel=_RE_ID)
    ] = None,
    reid_std: Annotated[Text, typer.Option(help="Likewise.", rich_help_panel=_RE_ID)] = None,
    reid_resize: Annotated[
        Resize | None, typer.Option(help="How its author resizes crops.", rich_help_panel=_RE_ID)
    ] = None,
    reid_output: Annotated[
        Text, typer.Option(help="Which output, where several could be it.", rich_help_panel=_RE_ID)
    ] = None,
    family: Annotated[
        Family | None, typer.Option(help="Form of its outputs; else recognised.", rich_help_panel=_DETECTOR)
    ] = None,
    canvas: Annotated[
        Text, typer.Option(help="HEIGHTxWIDTH of the bundle; by default the model's.", rich_help_panel=_DETECTOR)
    ] = None,
    input_size: Annotated[
        Text, typer.Option(help="HEIGHTxWIDTH, where the file leaves them open.", rich_help_panel=_DETECTOR)
    ] = None,
    detector_output: Annotated[
        list[str] | None,
        typer.Option(
            help="ROLE=NAME: which output is predictions, boxes, scores, labels or embeddings.",
            rich_help_panel=_DETECTOR,
        ),
    ] = None,
    person: Annotated[
        int | None, typer.Option(help="Number of the class, from 0.", min=0, rich_help_panel=_DETECTOR)
    ] = None,
    detector_colours: Annotated[
        Colour | None, typer.Option(help="Order of channels.", rich_help_panel=_DETECTOR)
    ] = None,
    detector_mean: Annotated[
        Text, typer.Option(help="A,B,C for pixels of 0 … 255, in their order.", rich_help_panel=_DETECTOR)
    ] = None,
    detector_std: Annotated[Text, typer.Option(help="Likewise.", rich_help_panel=_DETECTOR)] = None,
    pad: Annotated[Text, typer.Option(help="R,G,B beside the picture, 0 … 255.", rich_help_panel=_DETECTOR)] = None,
    placement: Annotated[
        Literal["corner", "centre"] | None, typer.Option(help="Of the picture.", rich_help_panel=_DETECTOR)
    ] = None,
    activation: Annotated[
        Literal["none", "sigmoid", "softmax"] | None,
        typer.Option(help="What is still to be done to scores.", rich_help_panel=_DETECTOR),
    ] = None,
    box_form: Annotated[
        Literal["xyxy", "yxyx", "cxcywh"] | None, typer.Option(help="Numbers of a box.", rich_help_panel=_DETECTOR)
    ] = None,
    unit: Annotated[
        Literal["pixels", "fractions"] | None, typer.Option(help="What they count.", rich_help_panel=_DETECTOR)
    ] = None,
    nms: Annotated[
        float | None, typer.Option(help="IoU of the NMS; 0 for none.", min=0, max=1, rich_help_panel=_DETECTOR)
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Best boxes that enter it.", min=1, rich_help_panel=_DETECTOR)
    ] = None,
    places: Annotated[
        int | None, typer.Option(help="Most people of a picture.", min=1, rich_help_panel=_DETECTOR)
    ] = None,
) -> None:
    """Make a bundle of other people's ONNX files: a detector and a re-ID network, one of them, or one for both tasks.

    What was recognised is shown before anything is written. The bundle runs in mode none if the re-ID network is
    another's, in mode joint if one network does both. Its parity compares with the files as their authors run them.
    """
    from mgts_trt.bundle.bundle import Bundle
    from mgts_trt.bundle.onnx_graph import import_onnx

    import_onnx()
    from mgts_trt.importing.detectors.detector_options import DetectorOptions
    from mgts_trt.importing.import_bundle import Import, prepare, write
    from mgts_trt.importing.reid_options import ReidOptions

    place = out_folder or into
    if place is None:
        raise MgtsError("Nowhere to write to. Name a folder with --out.")
    given: dict[str, Any] = {
        "family": family, "canvas": _size("--canvas", canvas), "input_hw": _size("--input-size", input_size),
        "person": person, "colour": detector_colours, "mean": _triple("--detector-mean", detector_mean),
        "std": _triple("--detector-std", detector_std), "pad": _colour(pad), "placement": placement,
        "activation": activation, "box_form": box_form, "unit": unit, "nms": nms, "candidates": candidates,
        "places": places, "outputs": _roles(detector_output or []),
    }  # fmt: skip
    job = Import(
        out=place,
        reid=reid,
        detector=detector,
        joint=joint,
        into=Bundle.open(into) if into is not None else None,
        reid_options=ReidOptions.of(
            reid_preset,
            size=_size("--reid-size", reid_size),
            colour=reid_colours,
            value_range=reid_range,
            mean=_triple("--reid-mean", reid_mean),
            std=_triple("--reid-std", reid_std),
            resize=reid_resize,
            output=reid_output,
        ),
        detector_options=DetectorOptions(**{name: value for name, value in given.items() if value is not None}),
        pictures=golden or [],
        threshold=threshold,
        licence=licence,
        force=force or dry_run,
    )
    with progress() as bar:
        line = bar.add_task("recognising", total=None)
        job.on_step = lambda step: bar.update(line, description=step)
        prepared = prepare(job)
    _show(job.out, prepared)
    if dry_run:
        out.print("Nothing was written, as --dry-run says.")
        return
    with progress() as bar:
        line = bar.add_task("importing", total=None)
        job.on_step = lambda step: bar.update(line, description=step)
        made = write(job, prepared)
    for name, part in prepared.parts.items():
        cosine = made.model(name).imported.resize_cosine  # type: ignore[union-attr]
        if cosine is not None:
            file = part.original.path.name
            out.print(f"{file}: crops resized here and as by its author give a cosine of at least {cosine:.4f}.")
    out.print(f"Written to {made.root}. Compare it with the files: mgts-trt parity {made.root}")


def _show(place: Path, prepared: "Prepared") -> None:
    for name, part in prepared.parts.items():
        title = f"{part.original.path} as {name}: opset {part.original.opset}, {part.original.producer}"
        rows = table("what", "is", "how it is known", title=title)
        for row in part.rows:
            rows.add_row(row.what, row.value, row.why)
        out.print(rows)
    rows = table("what", "is", "", title=f"{place}: the bundle")
    for row in prepared.rows():
        rows.add_row(row.what, row.value, row.why)
    out.print(rows)
    for note in prepared.notes:
        warn(f"{note}.")


def _size(option: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) != 2 or not all(side.strip().isdecimal() for side in sides):
        raise MgtsError(f"{option} {text!r} is no size. Give HEIGHTxWIDTH, as in 256x128.")
    return int(sides[0]), int(sides[1])


def _triple(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        a, b, c = (float(part) for part in text.split(","))
    except ValueError:
        raise MgtsError(f"{option} {text!r} is not three numbers. Give them with commas, as in 0.5,0.5,0.5.") from None
    return a, b, c


def _colour(text: str | None) -> tuple[int, int, int] | None:
    found = _triple("--pad", text)
    if found is None:
        return None
    if not all(part.is_integer() for part in found):
        raise MgtsError(f"--pad {text!r} is no colour. Give three whole numbers of 0 … 255, as in 114,114,114.")
    return int(found[0]), int(found[1]), int(found[2])


def _roles(texts: list[str]) -> dict[str, str]:
    roles = dict[str, str]()
    for text in texts:
        role, _, name = text.partition("=")
        if not name:
            raise MgtsError(f"--detector-output {text!r} names no output. Give ROLE=NAME, as in boxes=pred_boxes.")
        roles[role] = name
    return roles
