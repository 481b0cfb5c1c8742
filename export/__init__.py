"""PyTorch → bundle: static-shape graph forms, ONNX files, goldens, checks. Run from a checkout: `python -m export`."""
