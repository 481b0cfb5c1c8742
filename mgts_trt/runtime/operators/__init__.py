"""The operators of the domain `mgts` as CUDA kernels: one file an operator, which makes its launches."""
