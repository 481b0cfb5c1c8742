"""Who is measured against whom: our engines, ONNX Runtime, PyTorch."""
