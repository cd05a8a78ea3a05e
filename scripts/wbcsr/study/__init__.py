"""The plan of a study, the labels of its results, and the values that the reproduced study published."""
