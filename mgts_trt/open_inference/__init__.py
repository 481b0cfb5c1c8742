"""The Open Inference Protocol, version 2: the models a bundle is there, their tensors, and how these travel."""
