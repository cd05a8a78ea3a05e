"""Serving: both networks as models of an NVIDIA Triton Inference Server."""
