"""The report: one self-contained page with the answer, what it rests on, and how it was made."""
