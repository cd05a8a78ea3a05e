"""How the networks ran: each engine, why it was chosen, and how its results compare with the network in fp32."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.engines.reasons import in_words
from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.present.table import Table, text
from wbcsr.present.text import NONE
from wbcsr.report.method import images_per_second, median_speed
from wbcsr.study.labels import variant_label
from wbcsr.text import counted

ENGINE_KEYS = (
    *("backend", "precision", "device", "machine", "batch_size", "batch_size_wanted", "profile", "program_sha256"),
    *("fingerprint", "reasons"),
)
# Engines in one row have these values in common, and the codes of their reasons.
SHARED = ("backend", "precision", "device", "machine", "batch_size", "batch_size_wanted", "profile")
ITSELF = "is the fp32 network itself"


@dataclass(frozen=True)
class Kind:
    """The engines of one kind of network, which the rule `compile_<of>` builds and `check_<of>` compares with fp32.

    `measures` has the heading and the text of each measure of that comparison by its key; the largest value is the
    worst. `required` says what the tolerances ask for.
    """

    of: str
    id: str
    caption: str
    first: str
    measures: Mapping[str, tuple[str, Callable[[Any], str]]]
    required: str


@dataclass(frozen=True)
class Described:
    """One engine: the name of its network, what its jobs recorded, and the images a second of the jobs that used it."""

    name: str
    engine: dict[str, Any]
    quality: dict[str, Any]
    speeds: list[float | None]

    @property
    def shared(self) -> str:
        """The same text for engines that can share a row because they differ only in measured values."""
        codes = [reason["code"] for reason in self.engine["reasons"]]
        facts = [self.engine[key] for key in SHARED]
        return json.dumps([facts, codes, self.quality["thresholds"], self.quality["reference"]], sort_keys=True)


UPSCALERS = Kind(
    of="upscaler",
    id="engines-upscalers",
    caption="Engines of the super-resolution networks.",
    first="Model",
    measures={
        "psnr_db": ("PSNR to fp32", lambda value: "identical" if value is None else f"{value:.1f}\u00a0dB"),
        "max_difference": ("Largest difference", lambda value: f"{value}\u00a0of\u00a0255"),
    },
    required="a PSNR of at least {psnr_db:g} dB and no pixel that differs by more than {max_difference:g} of 255",
)
CLASSIFIERS = Kind(
    of="classifier",
    id="engines-classifiers",
    caption="Engines of the classifiers.",
    first="Run",
    measures={
        "changed_labels": ("Labels changed from fp32", lambda value: f"{100 * value:.2f}\u00a0%" if value else "none"),
        "max_probability_difference": (
            "Largest difference of a probability",
            lambda value: "< 0.0001" if 0 < value < 0.0001 else f"{value:.4f}",
        ),
    },
    required="at most {changed_labels:.2%} of the labels changed",
)


def describe_engines(records: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """How the networks ran: `summary` in words, and `tables`.

    `records` are the provenances of all jobs by path. Those of the rules `compile_…` hold the `engine` and those of
    `check_…` its `quality`; the wildcards say which network it is. Classifiers whose engines differ in measured values
    alone share a row. Raises InputError if a record lacks one of these, or if an engine was not compared with fp32.
    """
    upscalers, classifiers = (list(_described(kind, records)) for kind in (UPSCALERS, CLASSIFIERS))
    groups: dict[str, list[Described]] = {}
    for one in classifiers:
        groups.setdefault(one.shared, []).append(one)
    tables = [_table(UPSCALERS, [[one] for one in upscalers]), _table(CLASSIFIERS, list(groups.values()))]
    return {
        "summary": _summary([*upscalers, *classifiers]),
        "tables": [table for table in tables if not table.data.empty],
    }


def _described(kind: Kind, records: Mapping[Path, dict[str, Any]]) -> Iterator[Described]:
    def of(rule: str) -> dict[frozenset[tuple[str, str]], tuple[Path, dict[str, Any]]]:
        """The records of a rule by their wildcards."""
        return {
            frozenset(one["wildcards"].items()): (path, one) for path, one in records.items() if one["rule"] == rule
        }

    checks = of(f"check_{kind.of}")
    for key, (path, record) in of(f"compile_{kind.of}").items():
        wildcards, engine = record["wildcards"], _part(path, record, "engine", ENGINE_KEYS)
        if key not in checks:
            raise InputError(f"{path}: its engine was not compared with fp32; run the rule check_{kind.of}")
        quality = _part(*checks[key], "quality", ("passed", "reference", "thresholds"))
        if kind is UPSCALERS:
            name, weights = wildcards["model"], engine["fingerprint"]["weights"]
            # An enlarger's name contains the hash of its weights.
            users = [one for one in records.values() if weights in one.get("upscaling", {}).get("enlarger", "")]
        else:
            name = f"{variant_label(wildcards['training'])}, {wildcards['split']}, seed {wildcards['seed']}"
            predicted = (one for one in records.values() if one["rule"] == "predict")
            users = [one for one in predicted if wildcards.items() <= one["wildcards"].items()]
        yield Described(name, engine, quality, [images_per_second(one) for one in users])


def _part(path: Path, record: dict[str, Any], name: str, keys: Sequence[str]) -> dict[str, Any]:
    part: dict[str, Any] = record.get(name) or {}
    for key in keys:
        if key not in part:
            raise InputError(f"{path}: lacks '{name}.{key}'; {how_to_regenerate(path)}")
    return part


def _table(kind: Kind, groups: Sequence[Sequence[Described]]) -> Table:
    every = [one for group in groups for one in group]
    compared = [one for one in every if not one.quality["reference"]]
    notes = ["Batch: images at once. Sizes: width × height in pixels. Images/s: median over the jobs."]
    if any(one.engine["batch_size"] < one.engine["batch_size_wanted"] for one in every):
        notes.append("A batch that did not fit into memory was halved until it did.")
    if any(len(group) > 1 for group in groups if not group[0].quality["reference"]):
        notes.append("If several runs share a row, it shows the worst value.")
    if compared:
        required = dict.fromkeys(kind.required.format(**one.quality["thresholds"]) for one in compared)
        notes.append(f"Required: {', or with other settings '.join(required)}.")
    columns = [
        text("name", kind.first),
        text("engine", "Engine"),
        text("machine", "Machine", style="prose"),
        text("batch", "Batch", style="figure"),
        text("sizes", "Sizes", style="figure"),
        text("speed", "Images/s", style="number"),
        *(text(key, heading, style="figure") for key, (heading, _) in kind.measures.items()),
        text("images", "Cells compared", style="figure"),
        text("reason", "Reason", style="prose"),
    ]
    rows = pd.DataFrame([_row(kind, group, len(every)) for group in groups])
    return Table(kind.id, "Engines", kind.caption, rows, columns, note=" ".join(notes))


def _row(kind: Kind, group: Sequence[Described], networks: int) -> dict[str, str]:
    """The row of one engine, or of several engines that are alike; `networks` is the number of all networks."""
    engine, quality = group[0].engine, group[0].quality
    name = group[0].name
    if len(group) > 1:
        name = counted(networks, "run") if len(group) == networks else f"{len(group)} of {counted(networks, 'run')}"
    batch = f"{engine['batch_size']}"
    if engine["batch_size"] < engine["batch_size_wanted"]:
        batch += f", halved from\u00a0{engine['batch_size_wanted']}"
    row = {
        "name": name,
        "engine": f"{engine['backend']}, {engine['precision']}",
        "machine": str(engine["machine"]),
        "batch": batch,
        "sizes": _sizes(engine["profile"]),
        "speed": median_speed([speed for each in group for speed in each.speeds]) or NONE,
        "reason": in_words([each.engine["reasons"] for each in group]),
    }
    first = next(iter(kind.measures))
    if quality["reference"]:
        return {**row, **dict.fromkeys([*kind.measures, "images"], NONE), first: ITSELF}
    for key, (_, show) in kind.measures.items():
        values = [each.quality[key] for each in group]
        row[key] = show(values[0]) if len(set(values)) == 1 else f"at worst {show(max(values))}"
    images = [each.quality["images"] for each in group]
    return {**row, "images": "–".join(map(str, sorted({min(images), max(images)})))}


def _sizes(profile: dict[str, Any] | None) -> str:
    if profile is None:
        return "any"
    least, best, most = (
        f"{width}\u00a0×\u00a0{height}" for height, width in (profile[key] for key in ("min", "opt", "max"))
    )
    if least == most:
        return best
    multiple = f", multiples of {profile['multiple']}" if profile["multiple"] > 1 else ""
    return f"{least} to {most}{multiple}, best {best}"


def _summary(described: Sequence[Described]) -> str:
    compiled = sum(one.engine["program_sha256"] is not None for one in described)
    references = sum(one.quality["reference"] for one in described)
    ran = f"{compiled} of {counted(len(described), 'network')} ran as compiled engines"
    if references == len(described):
        return f"{ran}. Each is the fp32 network itself, so there is nothing to compare."
    which = " other than the fp32 network itself" if references else ""
    return (
        f"{ran}. Each engine{which} was loaded in a new process and compared with the fp32 network on the same cells "
        "and device before it was used."
    )
