"""A GPU backend for networks of 3×3 convolutions, with one kernel of our own for each convolution; see kernels.py."""
