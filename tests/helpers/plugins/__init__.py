"""What plays TensorRT's and the driver's part towards the library of plugins."""
