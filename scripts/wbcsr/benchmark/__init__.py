"""Benchmarks: speed and memory of this workflow and of comparable programs, measured together on one machine."""
