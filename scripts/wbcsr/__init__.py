"""Library of the workflow: white-blood-cell super-resolution and classification.

One module or package per stage. Only `job`, which the scripts use, knows about Snakemake.
"""

from __future__ import annotations

import os
from pathlib import Path


def python_path() -> str:
    """The PYTHONPATH with which another process imports this library rather than another installed copy."""
    return os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))


def program_path() -> str:
    """The PATH with which Snakemake submits jobs by this workflow's `sbatch`, which waits for the cluster's limits."""
    return os.pathsep.join([str(Path(__file__).parents[1] / "slurm"), os.environ.get("PATH", os.defpath)])
