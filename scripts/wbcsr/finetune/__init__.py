"""Fine-tuning of the super-resolution network on the data set's own photographs.

A photograph is the true high-resolution side of its images, which have half its size. The network is trained at this
scale: a photograph is degraded to half its size, the network enlarges it by 4, its output is shrunk to the size of the
photograph, and is compared with the photograph.
"""

from __future__ import annotations

# A photograph has this many times the width and height of its images.
RATIO = 2
# The scale of the network.
SCALE = 4
