"""Engines: networks that a backend has prepared for one device, precision and input shape."""
