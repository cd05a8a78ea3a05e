"""The gate on quality: an engine is held against the network as it is in fp32, before anything relies on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcsr.engines import fresh
from wbcsr.errors import InputError
from wbcsr.files import read_json, write_json

log = logging.getLogger(__name__)

# What the comparisons find; the first is of both networks, the next two of an upscaler, the others of a classifier.
FOUND = ("images", "psnr_db", "max_difference", "changed_labels", "max_probability_difference")


def pass_gate(network: str, arguments: dict[str, Any], quality_path: Path, log_file: str | None) -> dict[str, Any]:
    """Compare an engine with the fp32 network in a fresh process, hold it to the thresholds, write what was found.

    `network` is upscaler or classifier, `arguments` are those of that function of `wbcsr.engines.compare`; `inference`
    and `engine` are among them. An engine that is itself the fp32 network is not compared with itself, and the file
    says so. InputError where a threshold is missed or the output is not finite or black; no file is written then.
    """
    gate = arguments["inference"]["gate"]
    quality: dict[str, Any] = {"passed": True, "reference": True, "thresholds": gate}
    if not _is_reference(read_json(arguments["engine"])):
        found = dict.fromkeys(FOUND) | fresh.run(f"wbcsr.engines.compare:compare_{network}", arguments, log_file)
        _hold(arguments["engine"], found, gate)
        quality |= {"reference": False, **found}
    write_json(quality_path, quality)
    log.info("quality: %s", _in_words(quality))
    return quality


def _is_reference(engine: Mapping[str, Any]) -> bool:
    """Whether an engine is what it would be compared with: the network as it is, in fp32."""
    return engine["backend"] == "eager" and engine["precision"] == "fp32" and engine["device"] == "cpu"


def _hold(engine: str, found: Mapping[str, Any], gate: Mapping[str, Any]) -> None:
    """InputError that names the first threshold which is missed."""
    psnr, largest, changed = (found[name] for name in ("psnr_db", "max_difference", "changed_labels"))
    missed = None
    if psnr is not None and psnr < gate["psnr_db"]:
        missed = f"its images have a PSNR of {psnr:.1f} dB to those of the fp32 network, below psnr_db"
    elif largest is not None and largest > gate["max_difference"]:
        missed = f"a pixel is {largest} of 255 off the fp32 network's, above max_difference"
    elif changed is not None and changed > gate["changed_labels"]:
        missed = f"{changed:.1%} of {found['images']} labels are not those in fp32, above changed_labels"
    if missed:
        key = missed.rsplit(" ", 1)[1]
        raise InputError(
            f"{engine}: {missed} {gate[key]:g} of inference.gate; take another inference.precision or backend, "
            "or, if that quality will do, another threshold"
        )


def _in_words(quality: Mapping[str, Any]) -> str:
    if quality["reference"]:
        return "the engine is the fp32 network itself"
    if quality["changed_labels"] is not None:
        return f"{quality['changed_labels']:.2%} of {quality['images']} labels are not those in fp32"
    psnr = "identical" if quality["psnr_db"] is None else f"PSNR {quality['psnr_db']:.1f} dB"
    return f"{psnr} to fp32, largest difference {quality['max_difference']} of 255, {quality['images']} cells"
