"""How the networks ran: each engine, why it was chosen, and what it gives beside the network in fp32."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.present.table import Table, text
from wbcsr.report.method import images_per_second, median_speed
from wbcsr.stats.records import read_records
from wbcsr.study.labels import variant_label

ENGINE_KEYS = [
    *("backend", "precision", "device", "machine", "batch_size", "batch_size_wanted", "profile", "program_sha256"),
    *("fingerprint", "reason"),
]
QUALITY_KEYS = ["passed", "reference", "thresholds"]
ITSELF = "is the fp32 network itself"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Kind:
    """What the engines of one kind of network share.

    `measures` are the measures of quality beside fp32 by their keys: heading and how a value is shown. `required` says
    in words what the `thresholds` ask for.
    """

    id: str
    caption: str
    first: str
    rule: str
    measures: dict[str, tuple[str, Callable[[Any], str]]]
    thresholds: tuple[str, ...]
    required: Callable[[dict[str, Any]], str]


@dataclass(frozen=True)
class Described:
    """One engine: its network's name, what engine.json and quality.json say, and the images a second of its jobs."""

    name: str
    engine: dict[str, Any]
    quality: dict[str, Any]
    speeds: list[float | None]

    @property
    def alike(self) -> str:
        """The same for engines that can stand in one row: all but measured values, be it in the reason."""
        facts = {key: self.engine[key] for key in ENGINE_KEYS if key not in ("program_sha256", "fingerprint")}
        facts["reason"] = NUMBER.sub("", _reason(self.engine))
        return json.dumps([facts, self.quality["thresholds"], self.quality["reference"]], sort_keys=True)


def _decibels(value: float | None) -> str:
    return "identical" if value is None else f"{value:.1f}\u00a0dB"


def _share(value: float) -> str:
    return f"{100 * value:.2f}\u00a0%" if value else "none"


def _probability(value: float) -> str:
    return "< 0.0001" if 0 < value < 0.0001 else f"{value:.4f}"


UPSCALERS = Kind(
    id="engines-upscalers",
    caption="Engines of the super-resolution networks.",
    first="Model",
    rule="compile_upscaler",
    measures={
        "psnr_db": ("PSNR to fp32", _decibels),
        "max_difference": ("Largest difference", lambda value: f"{value}\u00a0of\u00a0255"),
    },
    thresholds=("psnr_db", "max_difference"),
    required=lambda gate: (
        f"a PSNR of at least {gate['psnr_db']:g} dB and no pixel further off than {gate['max_difference']:g} of 255"
    ),
)
CLASSIFIERS = Kind(
    id="engines-classifiers",
    caption="Engines of the classifiers.",
    first="Run",
    rule="compile_classifier",
    measures={
        "changed_labels": ("Labels changed from fp32", _share),
        "max_probability_difference": ("Largest difference of a probability", _probability),
    },
    thresholds=("changed_labels",),
    required=lambda gate: f"at most {100 * gate['changed_labels']:g}\u00a0% of the labels changed",
)


def describe_engines(
    paths: Iterable[Path], qualities: Collection[Path], records: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """How the networks ran: `summary` in words, and `tables`.

    An engine.json of a super-resolution network lies in a folder named after its model, that of a classifier in
    `<split>/<training>/seed<n>/engine/<GPU model or any>`; its quality.json lies beside it and is among `qualities`.
    `records` are the provenances, from which the speeds come. Classifiers whose engines differ in measured values alone
    share a row.
    InputError where a file is missing or damaged, or says that its engine did not pass.
    """
    upscalers: list[Described] = []
    classifiers: list[Described] = []
    for path in paths:
        is_run = path.parts[-3] == "engine"
        engine = _read_engine(path)
        quality = _read_quality(path.with_name("quality.json"), qualities, CLASSIFIERS if is_run else UPSCALERS)
        if is_run:
            split, training, seed = path.parts[-6:-3]
            run = {"split": split, "training": training, "seed": seed.removeprefix("seed")}
            speeds = [images_per_second(record) for record in records if _is_prediction(record, run)]
            name = f"{variant_label(training)}, {split}, seed {run['seed']}"
            classifiers.append(Described(name, engine, quality, speeds))
        else:
            # An enlarger's name tells the weights that it ran with.
            weights = engine["fingerprint"]["weights"]
            speeds = [
                images_per_second(record)
                for record in records
                if weights in record.get("upscaling", {}).get("enlarger", "")
            ]
            upscalers.append(Described(path.parent.name, engine, quality, speeds))
    tables = [_table(UPSCALERS, [[one] for one in upscalers]), _table(CLASSIFIERS, _groups(classifiers))]
    return {
        "summary": _summary([*upscalers, *classifiers]),
        "tables": [table for table in tables if not table.data.empty],
    }


def _is_prediction(record: dict[str, Any], run: dict[str, str]) -> bool:
    return record["rule"] == "predict" and run.items() <= record["wildcards"].items()


def _read_engine(path: Path) -> dict[str, Any]:
    engine = read_records([path], ENGINE_KEYS)[0]
    profile, fingerprint = engine["profile"], engine["fingerprint"]
    if profile is not None and not (isinstance(profile, dict) and {"min", "opt", "max"} <= profile.keys()):
        raise InputError(f"{path}: 'profile' gives no sizes; {how_to_regenerate(path)}")
    if not isinstance(fingerprint, dict) or "weights" not in fingerprint:
        raise InputError(f"{path}: 'fingerprint' lacks the weights; {how_to_regenerate(path)}")
    return engine


def _read_quality(path: Path, qualities: Collection[Path], kind: Kind) -> dict[str, Any]:
    if path not in qualities:
        raise InputError(f"{path}: is not among the inputs; run the rule {kind.rule}")
    quality = read_records([path], QUALITY_KEYS)[0]
    if quality["passed"] is not True:
        raise InputError(f"{path}: does not say that the engine passed; {how_to_regenerate(path)}")
    if quality["reference"]:
        return quality
    values = [(key, quality.get(key, "")) for key in (*kind.measures, "images")]
    gate = quality["thresholds"] if isinstance(quality["thresholds"], dict) else {}
    values += [(f"thresholds.{key}", gate.get(key)) for key in kind.thresholds]
    for key, value in values:
        nothing_differs = key == "psnr_db" and value is None
        if not nothing_differs and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"{path}: '{key}' is not a number; {how_to_regenerate(path)}")
    return quality


def _groups(described: Sequence[Described]) -> list[list[Described]]:
    groups: dict[str, list[Described]] = {}
    for one in described:
        groups.setdefault(one.alike, []).append(one)
    return list(groups.values())


def _table(kind: Kind, groups: Sequence[Sequence[Described]]) -> Table:
    every = [one for group in groups for one in group]
    compared = [one for one in every if not one.quality["reference"]]
    if compared:
        quality = [text(key, heading, style="figure") for key, (heading, _) in kind.measures.items()]
        quality.append(text("images", "Cells compared", style="figure"))
    else:
        quality = [text("quality", "Quality", style="prose")]
    columns = [
        text("name", kind.first),
        text("engine", "Engine"),
        text("machine", "Machine", style="prose"),
        text("batch", "Batch", style="figure"),
        text("sizes", "Sizes", style="figure"),
        text("speed", "Images/s", style="number"),
        *quality,
        text("reason", "Why", style="prose"),
    ]
    notes = ["Batch: images at once. Sizes: width × height in pixels. Images/s: median over the jobs."]
    if any(one.engine["batch_size"] < one.engine["batch_size_wanted"] for one in every):
        notes.append("A batch that the memory did not hold was halved until it did.")
    if any(len(group) > 1 for group in groups if not group[0].quality["reference"]):
        notes.append("Of several runs in one row the worst value is given.")
    if compared:
        required = dict.fromkeys(kind.required(one.quality["thresholds"]) for one in compared)
        notes.append(f"Required: {', or with other settings '.join(required)}.")
    rows = [_row(kind, group, len(every)) for group in groups]
    return Table(kind.id, "Engines", kind.caption, pd.DataFrame(rows), columns, note=" ".join(notes))


def _row(kind: Kind, group: Sequence[Described], networks: int) -> dict[str, str]:
    """One engine, or several that are alike, of so many networks."""
    one = group[0]
    engine, quality = one.engine, one.quality
    name = one.name
    if len(group) > 1:
        name = f"{networks} runs" if len(group) == networks else f"{len(group)} of {networks} runs"
    batch = f"{engine['batch_size']}"
    if engine["batch_size"] < engine["batch_size_wanted"]:
        batch += f", halved from\u00a0{engine['batch_size_wanted']}"
    row = {
        "name": name,
        "engine": f"{engine['backend']}, {engine['precision']}",
        "machine": str(engine["machine"]),
        "batch": batch,
        "sizes": _sizes(engine["profile"]),
        "speed": median_speed([speed for each in group for speed in each.speeds]) or "–",
        "reason": _with_ranges([_reason(each.engine) for each in group]),
    }
    if quality["reference"]:
        first, *others = [*kind.measures, "images"]
        return {**row, "quality": ITSELF, first: ITSELF, **dict.fromkeys(others, "–")}
    for key, (_, show) in kind.measures.items():
        values = [each.quality[key] for each in group]
        worst = max(values)  # only classifiers share a row, and of their measures the largest is the worst
        row[key] = show(worst) if len(set(values)) == 1 else f"at worst {show(worst)}"
    return {**row, "images": _with_ranges([str(each.quality["images"]) for each in group])}


def _reason(engine: dict[str, Any]) -> str:
    not_taken = (engine.get("measured") or {}).get("not_taken")
    return f"{engine['reason']}; {not_taken}" if not_taken else str(engine["reason"])


def _with_ranges(texts: Sequence[str]) -> str:
    """Texts that differ in their numbers alone as one: a number that differs becomes `least–most`."""
    merged = []
    for numbers in zip(*map(NUMBER.findall, texts), strict=True):
        least, most = min(numbers, key=float), max(numbers, key=float)
        merged.append(least if float(least) == float(most) else f"{least}–{most}")
    return "".join(words + number for words, number in zip_longest(NUMBER.split(texts[0]), merged, fillvalue=""))


def _sizes(profile: dict[str, Any] | None) -> str:
    if profile is None:
        return "any"
    least, best, most = (
        f"{width}\u00a0×\u00a0{height}" for height, width in (profile[key] for key in ("min", "opt", "max"))
    )
    if least == most:
        return best
    multiple = f", multiples of {profile['multiple']}" if profile.get("multiple", 1) > 1 else ""
    return f"{least} to {most}{multiple}, best {best}"


def _summary(described: Sequence[Described]) -> str:
    compiled = sum(one.engine["program_sha256"] is not None for one in described)
    if compiled == 0:
        ran = "No engine was compiled: PyTorch ran every network as it is (eager)."
    elif compiled == len(described):
        ran = "Every network ran as a compiled engine."
    else:
        ran = f"{compiled} of {len(described)} networks ran as compiled engines, the others as they are (eager)."
    if all(one.quality["reference"] for one in described):
        return f"{ran} Each is the fp32 network itself, so there is nothing to compare it with."
    which = " that is not the fp32 network itself" if any(one.quality["reference"] for one in described) else ""
    return (
        f"{ran} Each{which} was loaded in a fresh process and compared with the fp32 network on the same cells and "
        "device before anything relied on it."
    )
