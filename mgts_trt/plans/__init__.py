"""What a TensorRT plan is, and which flavour of TensorRT this machine uses."""
