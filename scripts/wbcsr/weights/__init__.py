"""Real-ESRGAN's weights: where they come from, how they are read, and what network they belong to."""
