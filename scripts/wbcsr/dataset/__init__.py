"""The data set: fetched, taken in with every file checked, and split into subsets."""
