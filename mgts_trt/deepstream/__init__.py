"""A bundle for NVIDIA DeepStream: networks as `nvinfer` feeds them, its configurations, and a parser of boxes."""
