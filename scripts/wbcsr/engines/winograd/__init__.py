"""A backend for networks of 3×3 convolutions on a CPU, with a quarter of the multiplications; see convolutions.cpp."""
