"""FP16 and INT8 from a bundle's FP32 files; needs no PyTorch."""
