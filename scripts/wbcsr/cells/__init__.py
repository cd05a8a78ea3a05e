"""White cells: finding them in images, and cropping squares around them."""
