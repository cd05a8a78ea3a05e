"""Why an engine has its backend: a code with its numbers and names, as stored in engine.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

Reason = dict[str, Any]


class Code(StrEnum):
    """The reason for a backend; the placeholders in `WORDS` are the other keys of each reason."""

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
    Code.NOT_FASTER: "{backend} does not speed up fp32 convolutions, which take most of the time on a CPU",
    Code.UNUSABLE: "{detail}",
    Code.FEW_IMAGES: "uncompiled, {images} images take {minutes} minutes; compiling pays off above {limit} minutes",
    Code.FAILED: "{backend} failed: {detail}",
    Code.MEASURED: "measured: eager {eager_seconds} s, {backend} {seconds} s for {shape}",
}


def reason(code: Code, **facts: Any) -> Reason:
    """Return a reason in the form stored in engine.json."""
    return {"code": code.value, **facts}


def in_words(engines: Sequence[Sequence[Reason]]) -> str:
    """Describe the reasons of engines that all have the same codes, in one clause; differing numbers become ranges."""
    parts = []
    for same in zip(*engines, strict=True):
        facts = {key: _range([one[key] for one in same]) for key in same[0] if key != "code"}
        parts.append(WORDS[same[0]["code"]].format(**facts))
    return "; ".join(parts)


def _range(values: Sequence[Any]) -> str:
    if len(set(values)) == 1 or isinstance(values[0], str):
        return " or ".join(dict.fromkeys(map(str, values)))
    return f"{min(values)}–{max(values)}"
