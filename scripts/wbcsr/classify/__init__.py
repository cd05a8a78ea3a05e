"""The classifier: training on packed images, and prediction."""
