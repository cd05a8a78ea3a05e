"""Synthetic blood smears in the layout of the study's archive, for the demo and the tests.

A photograph is drawn in the order of image formation. Structures are laid out in micrometres, and each adds the optical
density of its stains. The transmitted light follows the Beer–Lambert law (as in Ruifrok and Johnston, "Quantification
of histochemical staining by color deconvolution", Anal. Quant. Cytol. Histol. 23, 2001). The camera blurs it and adds
noise. The images are augmented duplicates at half the size: rotated, sheared, shifted and flipped.

Arrays of one quantity are (h, w) float32, colours are (h, w, 3) float32 in the order red, green, blue; lengths are in
µm; signed distances are positive inside a shape.
"""
