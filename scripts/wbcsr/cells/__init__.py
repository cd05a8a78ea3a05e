"""White cells: where they are in an image, and square cuts around them."""
