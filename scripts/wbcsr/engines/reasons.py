"""Why an engine has its backend: a code, and the numbers and names that belong to it, as engine.json holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

Reason = dict[str, Any]


class Code(StrEnum):
    """What decided on a backend; `WORDS` names the further keys of each."""

    CONFIGURED = "configured"
    EXACT_ON_CPU = "exact_on_cpu"
    NOT_FASTER = "not_faster"
    UNUSABLE = "unusable"
    FEW_IMAGES = "few_images"
    FAILED = "failed"
    MEASURED = "measured"


WORDS: Mapping[str, str] = {
    Code.CONFIGURED: "set in the configuration",
    Code.EXACT_ON_CPU: "on a CPU, PyTorch runs the fp32 network itself, which is fast enough",
    Code.NOT_FASTER: "{backend} does not speed up convolutions in fp32, where a CPU spends its time",
    Code.UNUSABLE: "{detail}",
    Code.FEW_IMAGES: "without compiling, {images} images take {minutes} minutes; compiling pays above {limit} minutes",
    Code.FAILED: "{backend} failed: {detail}",
    Code.MEASURED: "measured: eager {eager_seconds} s, {backend} {seconds} s for {shape}",
}


def reason(code: Code, **facts: Any) -> Reason:
    """A reason as engine.json holds it."""
    return {"code": code.value, **facts}


def in_words(engines: Sequence[Sequence[Reason]]) -> str:
    """The reasons of one engine, or of several that have the same codes, as a clause; numbers that differ as ranges."""
    parts = []
    for same in zip(*engines, strict=True):
        facts = {key: _range([one[key] for one in same]) for key in same[0] if key != "code"}
        parts.append(WORDS[same[0]["code"]].format(**facts))
    return "; ".join(parts)


def _range(values: Sequence[Any]) -> str:
    if len(set(values)) == 1 or isinstance(values[0], str):
        return " or ".join(dict.fromkeys(map(str, values)))
    return f"{min(values)}–{max(values)}"
