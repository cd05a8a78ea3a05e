"""Engines: a network made ready for one device, precision and shape by a backend."""
