"""The classifier: packed images in, a trained network and its predictions out."""
