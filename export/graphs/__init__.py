"""The networks as they are exported: every tensor static but the person batch, standard ONNX operators only."""
