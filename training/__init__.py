"""The PyTorch side: networks, checkpoints and presets. Run from a checkout; never shipped in the wheel."""
