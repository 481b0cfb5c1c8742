"""Models for NVIDIA's Triton server: its repository is written here, and its Python backend runs what lies here."""
