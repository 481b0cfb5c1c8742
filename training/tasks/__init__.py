"""What is trained: a network, its batches and its losses, in the form `training.loop` takes."""
