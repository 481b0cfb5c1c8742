"""`PersonSearch`: the pipelines on host and GPU."""
