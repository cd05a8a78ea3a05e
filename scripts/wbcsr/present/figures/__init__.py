"""The figures, a file for each subject."""
