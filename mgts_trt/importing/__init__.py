"""Other people's ONNX files made into bundles; no PyTorch."""
