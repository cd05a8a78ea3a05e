"""A CPU backend for networks of 3×3 convolutions, with a quarter of the multiplications; see convolutions.cpp."""
