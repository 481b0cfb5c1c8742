"""Arguments and options that several commands take alike."""

from pathlib import Path
from typing import Annotated

import typer

from mgts_trt.choices import Backend, Mode

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
BackendOption = Annotated[Backend, typer.Option(help="auto takes TensorRT where it can run, else ONNX Runtime.")]
PrecisionOption = Annotated[str, typer.Option(help="Precision of the models.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads; by default all available.", min=1)]
TopOption = Annotated[
    int | None, typer.Option("--people", help="Take the N best detections, whatever their score.", min=1)
]


ModeOption = Annotated[
    Mode | None,
    typer.Option(help="none, net or box: the rows of the paper's Table 6; by default the gallery's, or net."),
]
