"""What can be chosen by name. Apart from what it chooses among, so that `--help` need not load that."""

from typing import Literal

Mode = Literal["none", "net", "box", "joint"]
SEPARATE_MODES: tuple[Mode, ...] = ("none", "net", "box")
"""The rows of the paper's Table 6: a detector, then re-ID."""
MODES: tuple[Mode, ...] = (*SEPARATE_MODES, "joint")
"""And one network for both, as in Table 3."""

Backend = Literal["auto", "onnxruntime", "onnxruntime-cuda", "tensorrt"]
BACKENDS: tuple[Backend, ...] = ("auto", "onnxruntime", "onnxruntime-cuda", "tensorrt")

FlavourChoice = Literal["auto", "tensorrt", "tensorrt_rtx"]
"""Of TensorRT; `auto` is the one that supports the GPU, see `plans.installed`."""

Transport = Literal["tcp", "udp"]
"""How the frames of an RTSP stream come."""

Lowering = Literal["graph", "kernel", "plugin"]
"""How a plan computes the operators of the domain `mgts`: as layers of the `graph`, by a `kernel` between two engines,
or by a `plugin` inside the engine."""

LoweringChoice = Literal["auto", "graph", "kernel", "plugin"]
"""What may be asked for; `plans.lowering` says what `auto` is."""

DecodeChoice = Literal["auto", "gpu", "cpu"]
"""What decodes videos and live streams; `gallery.indexing.decoder_choice` says what `auto` is."""
