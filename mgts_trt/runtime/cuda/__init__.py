"""CUDA beside TensorRT: the kernels between the engines, their compilation, and the device they run on."""
