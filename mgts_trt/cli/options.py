"""Arguments and options that several commands take alike."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.access.master_key import FILE_VARIABLE, KEY_VARIABLE
from mgts_trt.choices import Backend, DecodeChoice, FlavourChoice, LoweringChoice, Mode, Transport

BundleArgument = Annotated[
    Path | None,
    typer.Argument(help="The bundle's folder; by default $MGTS_BUNDLE, ./bundle, the checkout's, or an installed one."),
]
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        "-b",
        help="The bundle's folder; by default $MGTS_BUNDLE, ./bundle, the checkout's, or an installed one.",
    ),
]
BackendOption = Annotated[
    Backend, typer.Option(help="auto takes TensorRT where it can run, else ONNX Runtime: on a GPU if it can.")
]
DecodeOption = Annotated[
    DecodeChoice,
    typer.Option(
        help="What decodes videos and streams; auto takes the GPU (NVDEC) where TensorRT runs and NVDEC takes them."
    ),
]
OpsOption = Annotated[
    LoweringChoice,
    typer.Option(help="On TensorRT, plans whose operators are graph, kernel or plugin; auto takes the best there is."),
]
PrecisionOption = Annotated[str, typer.Option(help="Precision of the models.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads; by default all available.", min=1)]
MaxPeopleOption = Annotated[
    int | None,
    typer.Option(help="People described at once, which sizes re-ID's memory; more take turns. By default 64.", min=1),
]
InFlightOption = Annotated[
    int | None,
    typer.Option(help="On TensorRT, most pictures at once, each with memory of its own on the GPU.", min=1),
]
TransportOption = Annotated[
    Transport,
    typer.Option(
        "--rtsp-transport",
        help="How frames of rtsp:// streams come; tcp loses none, and gives way to udp where a camera knows no other.",
    ),
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        metavar="PORT|FILE",
        help="Tell Prometheus how live streams are doing: at a port of this machine, or in a file.",
    ),
]
PatienceOption = Annotated[
    float,
    typer.Option(
        min=0.1,
        metavar="S",
        help="A live stream that brings no frame for S seconds counts as down, and is opened anew.",
    ),
]
TopOption = Annotated[
    int | None, typer.Option("--people", help="Take the N best detections, whatever their score.", min=1)
]


def _ask_for_flavour(context: typer.Context, choice: FlavourChoice | None) -> FlavourChoice | None:
    """Say it to all that look for TensorRT."""
    _set(context, "MGTS_TRT_FLAVOUR", choice)
    return choice


def _name_gallery_key(context: typer.Context, file: Path | None) -> Path | None:
    """Say it to all that open galleries."""
    _set(context, FILE_VARIABLE, None if file is None else str(file.absolute()))
    return file


def _set(context: typer.Context, variable: str, value: str | None) -> None:
    """Set a variable, if there is a value, for this process and those it starts, while the command runs."""
    if value is None or context.resilient_parsing:
        return
    before = os.environ.get(variable)
    os.environ[variable] = value

    def restore() -> None:
        if before is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = before

    context.call_on_close(restore)


FlavourOption = Annotated[
    FlavourChoice | None,
    typer.Option(
        "--flavour",
        callback=_ask_for_flavour,
        help="Which TensorRT, where both are installed; by default $MGTS_TRT_FLAVOUR, or what supports the GPU.",
    ),
]
GalleryKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--gallery-key",
        metavar="FILE",
        callback=_name_gallery_key,
        help="File of the key that encrypts the gallery's pictures; whether they are encrypted is settled when it is "
        f"made. By default ${FILE_VARIABLE} names the file, or ${KEY_VARIABLE} is the key.",
    ),
]
ModeOption = Annotated[
    Mode | None,
    typer.Option(help="none, net, box (the paper's Table 6) or joint; by default the gallery's, or the bundle's."),
]
