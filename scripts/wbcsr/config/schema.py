"""Fills in defaults of the configuration, and checks every key against config/schema.yaml."""

from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from wbcsr.config import Config, primary_comparison
from wbcsr.config.combinations import check_combinations
from wbcsr.errors import InputError
from wbcsr.names import clean

# Renamed keys, old → new; this release accepts the old ones. A key in a renamed section follows the section.
RENAMED_KEYS = {
    "given": "custom",
    "choose": "subsample",
    "drawing": "synthetic",
    "synthetic.copies_per_source": "synthetic.duplicates_per_source",
    "cross": "cross_evaluate",
    "inference.gate": "inference.tolerances",
    "train.more_input_sizes": "train.extra_input_sizes",
}
RENAMED_SPLITS = {"given": "custom"}


def with_new_names(config: Config) -> tuple[Config, str | None]:
    """Return `config` with its renamed keys and splits under their new names, and a one-line warning if it has any.

    Raises InputError if a key is set under both names.
    """
    config, renamed = copy.deepcopy(config), {}
    for old, new in RENAMED_KEYS.items():
        *sections, old_name = old.split(".")
        section: Any = config
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict) or old_name not in section:
            continue
        new_name = new.rpartition(".")[2]
        if new_name in section:
            raise InputError(f"configuration: {old} is the old name of {new}, and both are set; remove {old}")
        section[new_name] = section.pop(old_name)
        renamed[f"the key {old}"] = new
    if isinstance(config.get("splits"), list):
        renamed |= {f"the split {name}": RENAMED_SPLITS[name] for name in config["splits"] if name in RENAMED_SPLITS}
        config["splits"] = [RENAMED_SPLITS.get(name, name) for name in config["splits"]]
    if not renamed:
        return config, None
    listed = ", ".join(f"{old} is now {new}" for old, new in renamed.items())
    return config, f"configuration: {listed}; use the new names: the next release will not accept the old ones"


def complete(config: Config, schema_path: str | Path) -> Config:
    """Return `config` with the schema's defaults filled in, or raise `InputError`.

    A path as `dataset.labels` becomes the section with this `file`. If `dataset.classes` gives the folders or labels of
    each class, they become `dataset.members`, and `dataset.classes` becomes the list of names.

    The error is one line that names the key; for an unknown key, it also names the nearest known one.
    """
    # libyaml where PyYAML has it: every start of Snakemake reads the schema.
    schema = yaml.load(Path(schema_path).read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    completed = _typed(copy.deepcopy(config), schema)
    _fill(completed, schema)
    problem = best_match(Draft202012Validator(schema).iter_errors(completed), key=_unknown_keys_first)
    if problem is not None:
        raise InputError(f"configuration: {_explain(problem, schema)}")
    for key, value in _leaves(completed):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"configuration: {key} must be a number, not {value}")
    dataset = completed["dataset"]
    if isinstance(dataset["labels"], str):
        dataset["labels"] = {"file": dataset["labels"]}
        _fill(completed, schema)
    if isinstance(dataset["classes"], dict):
        dataset["members"] = dataset["classes"]
    if dataset["members"]:
        dataset["members"] = {clean(name): [*map(clean, members)] for name, members in dataset["members"].items()}
    dataset["classes"] = [clean(name) for name in dataset["classes"]]
    if dataset["partitions"]:
        folders = dataset["partitions"]
        extra = {name: clean(folder) for name, folder in folders.pop("extra_tests").items()}
        dataset["partitions"] = {part: clean(name) if name else name for part, name in folders.items()}
        dataset["partitions"]["extra_tests"] = extra
    check_combinations(completed)
    completed["evaluation"]["primary"] |= primary_comparison(completed)
    return completed


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not a section or list, with the names of the keys that lead to it."""
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in inner:
            yield from _leaves(part, f"{place}.{key}" if place else str(key))
    else:
        yield place, value


def _fill(config: Any, schema: dict[str, Any]) -> None:
    if not isinstance(config, dict):
        return
    for named in config if schema.get("additionalProperties") else ():
        _fill(config[named], schema["additionalProperties"])
    for key, rules in schema.get("properties", {}).items():
        if key not in config:
            config[key] = copy.deepcopy(rules["default"])
        _fill(config[key], rules)


def _typed(value: Any, rules: dict[str, Any]) -> Any:
    """Convert values from Snakemake's `--config key='{a: 1}'`, which leaves everything inside the braces as text."""
    if isinstance(value, dict):
        others = rules.get("additionalProperties") or {}
        return {key: _typed(inner, rules.get("properties", {}).get(key, others)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner, rules.get("items", {})) for inner in value]
    types = {kind for choice in [rules, *rules.get("anyOf", [])] for kind in _as_list(choice.get("type", []))}
    if isinstance(value, float) and value.is_integer() and "integer" in types and "number" not in types:
        return int(value)
    if isinstance(value, str) and types - {"string"}:
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        if "number" in types and isinstance(parsed, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", parsed):
            parsed = float(parsed)  # YAML 1.1 reads 1e-3 as text
        return parsed if parsed is None or "string" not in types else value
    return value


def _as_list(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _unknown_keys_first(error: ValidationError) -> tuple[bool, int]:
    return error.validator == "additionalProperties", -len(error.absolute_path)


def _known_keys(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, rules in schema.get("properties", {}).items():
        yield prefix + key
        yield from _known_keys(rules, f"{prefix}{key}.")


def _explain(problem: ValidationError, schema: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in problem.absolute_path)
    if problem.validator == "additionalProperties":
        unknown = min(set(problem.instance) - set(problem.schema["properties"]), key=str)
        full = f"{place}.{unknown}" if place else str(unknown)
        siblings = list(problem.schema["properties"])
        nearest = difflib.get_close_matches(str(unknown), siblings, n=1, cutoff=0.5)
        elsewhere = [key for key in _known_keys(schema) if key.rpartition(".")[2] == unknown]
        if elsewhere:
            near = "' or '".join(elsewhere)
        elif nearest:
            near = f"{place}.{nearest[0]}" if place else nearest[0]
        else:
            near = difflib.get_close_matches(full, list(_known_keys(schema)), n=1, cutoff=0)[0]
        return f"unknown key '{full}'; the nearest known key is '{near}'"
    message = problem.message.splitlines()[0]
    if problem.validator == "type":
        wanted, found = problem.validator_value, problem.instance
        message = f"must be {' or '.join(wanted) if isinstance(wanted, list) else wanted}, not "
        message += "empty" if found is None else repr(found)
        if isinstance(found, bool):
            message += " (YAML also reads yes, no, on and off as true or false)"
        if "string" in wanted and isinstance(found, bool | int | float):
            message += "; put it in quotes"
    elif problem.validator == "anyOf":
        message = f"{problem.instance!r} is not allowed here"
    elif problem.validator == "not":
        message = f"{problem.instance!r} is a name that the workflow uses itself; choose another name"
    elif problem.validator == "contains":
        message = f"must contain '{problem.validator_value['const']}'"
    described = problem.schema.get("description", "")
    return f"key '{place}': {message}" + (f" ({' '.join(described.split())})" if described else "")
