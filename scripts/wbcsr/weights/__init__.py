"""Real-ESRGAN's weights: where to get them, how to read them, and which network they belong to."""
