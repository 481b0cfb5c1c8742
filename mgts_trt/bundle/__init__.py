"""The artefact on disk: manifest, layout, recipes, tensors, ONNX files."""
