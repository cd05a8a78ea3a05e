"""Upscaling of images by a network or by interpolation, in shards that can be interrupted and resumed."""
