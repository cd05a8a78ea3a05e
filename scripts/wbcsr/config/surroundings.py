"""Checks the configuration against its surroundings: files, options of Snakemake, and the profile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcsr.config import OWN_FOLDERS, Config, labels_file, own_weights_of
from wbcsr.errors import InputError


def check_files(config: Config, made: set[str]) -> None:
    """Raise InputError if a file that the configuration names does not exist and no rule makes it (`made`).

    Without this check, Snakemake would treat older results of a rule as up to date although the rule's input is
    missing. Raises InputError also if data lie in a folder that the workflow writes (`OWN_FOLDERS`), or if the hash of
    the file of weights is not given; that message contains the line to add.
    """
    named = {"dataset.archive": config["dataset"]["archive"]}
    if config["train"]["init"] not in ("imagenet", "random"):
        named["train.init"] = config["train"]["init"]
    own_weights = own_weights_of(config)
    named |= {f"{key}.path": weights["path"] for key, weights in own_weights.items()}
    if config["fidelity"]["lpips"] and config["fidelity"]["lpips_weights"]:
        named["fidelity.lpips_weights"] = config["fidelity"]["lpips_weights"]
    if config["finetune"]["perceptual_weights"]:
        named["finetune.perceptual_weights"] = config["finetune"]["perceptual_weights"]
    if config["sources"]["method"] == "table":
        named["sources.table"] = config["sources"]["table"]
    for key in ("images", "links"):
        if config["dataset"][key]:
            named[f"dataset.{key}"] = config["dataset"][key]
    if config["container"] and "://" not in config["container"]:
        named["container"] = config["container"]
    if labels := labels_file(config["dataset"]):
        named["dataset.labels"] = labels
    if config["custom"]:
        named["custom"] = config["custom"]
    for key, path in named.items():
        own = next((name for name in OWN_FOLDERS if Path(path).resolve().is_relative_to(Path(name).resolve())), None)
        if own and not key.startswith(("train", "weights", "models", "fidelity", "finetune", "container")):
            raise InputError(
                f"configuration: {key} {path} is in {own}, where the workflow writes its results; copy it to another "
                "folder, such as data"
            )
        if path not in made and not Path(path).exists():
            raise InputError(
                f"configuration: {key}: {Path(path).absolute()} does not exist; create it or correct the key"
            )
    for key, weights in own_weights.items():
        if not weights["sha256"] and Path(weights["path"]).is_file():
            from wbcsr.files import sha256  # imported here, because it needs pandas, and most runs have no such file

            raise InputError(
                f"configuration: {key}.sha256 is missing; it is needed to detect a changed file; add to the section "
                f"{key}: 'sha256: {sha256(weights['path'])}'"
            )


def check_deployment(methods: set[str], config: Config) -> str | None:
    """A one-line warning if `container` is set but not used, given Snakemake's `--software-deployment-method`, or None.

    Raises InputError for a method that no rule declares, since Snakemake would run the jobs without it.
    """
    if "apptainer" in methods and not config["container"]:
        raise InputError(
            "option --software-deployment-method apptainer: the key container is null, so jobs would run in no "
            "container; set it to an image, or leave the option out"
        )
    if "env-modules" in methods:
        raise InputError(
            "option --software-deployment-method env-modules: no rule names modules; leave the option out, and load "
            "the modules before you start Snakemake, since its jobs inherit them"
        )
    if config["container"] and "apptainer" not in methods:
        return (
            f"configuration: container {config['container']} is used only with the option "
            "--software-deployment-method apptainer"
        )
    return None


def one_gpu_model(given: Mapping[str, Any]) -> str:
    """The GPU model that a profile sets for all rules that share engines, or "any" if it sets none.

    `given` has the value of each rule as the profile writes it, or None. Raises InputError if the values differ, or if
    SLURM would not accept the name.
    """
    models = {rule: str(model).strip("'\"") if model else "any" for rule, model in given.items()}
    if len(set(models.values())) > 1:
        listed = ", ".join(f"{rule} {model}" for rule, model in models.items())
        raise InputError(
            f"profile: set-resources gives these rules different values of gpu_model, but an engine runs only on the "
            f"model that it was built for: {listed}; give all of them the same value"
        )
    (model,) = set(models.values())
    if not re.fullmatch(r"(?!\d+$)[A-Za-z0-9_.]+", model):
        raise InputError(
            f"profile: gpu_model {model!r} cannot be submitted: it may have only letters, digits, _ and ., and may "
            "not be a number; remove gpu_model and choose the nodes by constraint"
        )
    return model
