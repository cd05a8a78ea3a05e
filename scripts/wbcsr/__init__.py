"""Library of the workflow: white-blood-cell super-resolution and classification.

One module or package a stage; nothing in here knows Snakemake except `job`, the door that scripts use.
"""
