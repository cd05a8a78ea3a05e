"""Serving: both networks as models for NVIDIA Triton Inference Server."""
