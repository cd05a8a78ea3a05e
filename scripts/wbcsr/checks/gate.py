"""The quality check: an engine must agree with the fp32 network before it is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wbcsr.errors import InputError
from wbcsr.files import read_json, write_json
from wbcsr.text import counted

log = logging.getLogger(__name__)

# Results of a comparison: the first is for both networks, the next two for upscalers, the others for classifiers.
FOUND = ("images", "psnr_db", "max_difference", "changed_labels", "max_probability_difference")


def pass_gate(
    engine: Path, compare: Callable[[], Mapping[str, Any]], tolerances: Mapping[str, Any], quality_path: Path
) -> dict[str, Any]:
    """Compare an engine (engine.json) with the fp32 network, check the thresholds, and write the result.

    `compare` returns the result of a function of `wbcsr.checks.compare`; it is not called for an engine that is itself
    the fp32 network on a CPU, which the file then records. `tolerances` is the section inference.tolerances of the
    configuration. Raises InputError if a threshold is missed, or as `compare` does; no file is written then.
    """
    quality: dict[str, Any] = {"passed": True, "reference": True, "thresholds": dict(tolerances)}
    if not _is_reference(read_json(engine)):
        found = {**dict.fromkeys(FOUND), **compare()}
        hold(engine, found, tolerances)
        quality |= {"reference": False, **found}
    write_json(quality_path, quality)
    log.info("quality: %s", _in_words(quality))
    return quality


def hold(program: Path, found: Mapping[str, Any], tolerances: Mapping[str, Any]) -> None:
    """Raise InputError, with the first threshold of `tolerances` that `found` (see `FOUND`) misses for `program`."""
    psnr, largest, changed = (found[name] for name in ("psnr_db", "max_difference", "changed_labels"))
    missed = None
    if psnr is not None and psnr < tolerances["psnr_db"]:
        missed = f"its images have a PSNR of {psnr:.1f} dB against the fp32 network, below psnr_db"
    elif largest is not None and largest > tolerances["max_difference"]:
        missed = f"a pixel differs by {largest} of 255 from the fp32 network, above max_difference"
    elif changed is not None and changed > tolerances["changed_labels"]:
        missed = f"{changed:.1%} of {counted(found['images'], 'label')} differ from fp32, above changed_labels"
    if missed:
        key = missed.rsplit(" ", 1)[1]
        raise InputError(
            f"{program}: {missed} {tolerances[key]:g} of inference.tolerances; choose another inference.precision or "
            "backend, or another threshold if this quality is good enough"
        )


def _is_reference(engine: Mapping[str, Any]) -> bool:
    """Whether the engine is the fp32 network itself, on the CPU, with which it would be compared."""
    return engine["backend"] == "eager" and engine["precision"] == "fp32" and engine["device"] == "cpu"


def _in_words(quality: Mapping[str, Any]) -> str:
    if quality["reference"]:
        return "the engine is the fp32 network itself"
    if quality["changed_labels"] is not None:
        return f"{quality['changed_labels']:.2%} of {counted(quality['images'], 'label')} differ from fp32"
    psnr = "identical" if quality["psnr_db"] is None else f"PSNR {quality['psnr_db']:.1f} dB"
    return (
        f"{psnr} to fp32, largest difference {quality['max_difference']} of 255, {counted(quality['images'], 'cell')}"
    )
