"""Engines checked against the fp32 network, before anything relies on them."""
