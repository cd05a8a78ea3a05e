"""Synthetic blood smears in the layout of the study's archive, for the demo and the tests.

A photograph is drawn as the microscope makes it: structures are laid out in micrometres, each adds the optical
density of its stains, the light that is left follows the law of Beer and Lambert (as in Ruifrok and Johnston,
"Quantification of histochemical staining by color deconvolution", Anal. Quant. Cytol. Histol. 23, 2001), and a
camera blurs it and adds noise. The images are augmented duplicates at half the size: rotated, sheared, shifted and
flipped.

Arrays of one quantity are (h, w) float32, those of a colour (h, w, 3) float32 in the order red, green, blue;
lengths are in µm; a signed distance is positive inside.
"""
