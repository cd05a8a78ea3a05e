"""Library of the workflow: white-blood-cell super-resolution and classification.

One module or package per stage. Only `job`, which the scripts use, knows about Snakemake.
"""
