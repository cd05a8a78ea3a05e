"""The classifier: packed images in, a trained ResNet-50 and its predictions out."""
