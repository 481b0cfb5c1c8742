"""Builds the library of TensorRT plugins with the compiler and the headers of this machine."""
