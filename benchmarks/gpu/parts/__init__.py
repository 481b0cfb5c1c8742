"""One file a question about a GPU."""
