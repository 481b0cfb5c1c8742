"""The pipeline on a GPU: what is queued on which stream, what is captured in CUDA graphs, what is in flight at once."""
