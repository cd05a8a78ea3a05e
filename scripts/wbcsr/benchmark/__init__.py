"""Measured beside others on one machine, in one run: what each way of doing the same takes."""
