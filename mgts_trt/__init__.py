"""mgts-trt: mask-guided two-stream person search (ECCV 2018) on ONNX Runtime and TensorRT."""

__version__ = "0.1.0"
