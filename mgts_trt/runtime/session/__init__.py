"""One model on one backend."""
