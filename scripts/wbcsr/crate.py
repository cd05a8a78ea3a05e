"""A finished study as one file for a research data repository: a Workflow Run RO-Crate.

The profiles are Workflow Run Crate 0.5 (w3id.org/ro/wfrun/workflow/0.5) and those that it extends: Process Run Crate
and Workflow RO-Crate, on RO-Crate 1.1. WorkflowHub and other software read this format.
"""

from __future__ import annotations

import mimetypes
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from wbcsr.errors import InputError
from wbcsr.files import read_json, replacing
from wbcsr.provenance import without_folders

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
# The parts of the repository that the workflow needs; tests, documentation and generated files are left out.
WORKFLOW = [
    "rules/**/*",
    "scripts/**/*",
    "profiles/**/*",
    "envs/*",
    "config/config.yaml",
    "config/schema.yaml",
    "pyproject.toml",
    "Makefile",
    "README.md",
    "LICENSE",
    "CITATION.cff",
]
USED = "config/study.yaml"


def write_crate(path: Path, repository: Path, results: Sequence[str], config: Mapping[str, Any]) -> None:
    """Write the zip file `path`: the workflow in `repository`, the complete `config`, and the files `results`.

    `results` are paths in the working folder and have the same paths in the crate; the provenance files among them say
    when the study ran and with which software. A path outside the working folder is reduced to its last part in the
    configuration. Raises InputError if no result has a provenance.
    """
    records = [read_json(file) for file in results if file.endswith("provenance.json")]
    if not records:
        raise InputError(f"{path}: no result has a provenance, which says when the study ran; run it to its end first")
    crate = ROCrate(version="1.1")
    root = crate.root_dataset
    citation = yaml.safe_load((repository / "CITATION.cff").read_text("utf-8"))
    root["name"] = f"A study by {citation['title']}"
    root["description"] = (
        "Configuration, splits, predictions, tables, figures and report of one study, with the provenance of each. "
        "The images of the data set are not included."
    )
    spdx = {"@type": "CreativeWork", "name": citation["license"]}
    root["license"] = crate.add(ContextEntity(crate, f"https://spdx.org/licenses/{citation['license']}", spdx))
    named = {"@type": "Organization", "name": citation["authors"][0]["name"]}
    root["author"] = root["publisher"] = crate.add(ContextEntity(crate, "#authors", named))
    root["conformsTo"] = [
        crate.add(ContextEntity(crate, profile, {"@type": "CreativeWork", "name": name, "version": version}))
        for profile, (name, version) in PROFILES.items()
    ]
    workflow = _add_workflow(crate, repository, citation["version"], _versions(records))
    with tempfile.TemporaryDirectory() as folder:
        used = Path(folder) / "study.yaml"
        used.write_text(yaml.safe_dump(without_folders(dict(config)), sort_keys=False, allow_unicode=True), "utf-8")
        started, ended = _times(records)
        root["mentions"] = crate.add_action(
            workflow,
            object=[_add_file(crate, used, USED, "configuration of the study"), _data_set(crate, config["dataset"])],
            result=[_add_file(crate, Path(file), file, Path(file).name) for file in results],
            properties={
                "name": "Run of the study",
                "description": "Snakemake ran the workflow on the data set with this configuration.",
                "startTime": started.isoformat(timespec="seconds"),
                "endTime": ended.isoformat(timespec="seconds"),
                "actionStatus": "http://schema.org/CompletedActionStatus",
            },
        )
        with replacing(path) as temporary:
            crate.write_zip(temporary)


def _add_workflow(crate: ROCrate, repository: Path, version: str, versions: Mapping[str, str]) -> Entity:
    """The Snakefile, the files that it needs, and the software versions of the study."""
    workflow = crate.add_workflow(
        repository / "Snakefile", "Snakefile", main=True, lang="snakemake", lang_version=versions.get("snakemake")
    )
    workflow["name"], workflow["version"], workflow["encodingFormat"] = "wbcsr", version, "text/plain"
    workflow["license"], workflow["creator"] = crate.root_dataset["license"], crate.root_dataset["author"]
    workflow["softwareRequirements"] = [
        crate.add(
            ContextEntity(
                crate,
                f"#{name}-{version}",
                {"@type": "SoftwareApplication", "name": name, "softwareVersion": version},
            )
        )
        for name, version in versions.items()
    ]
    files = {file for pattern in WORKFLOW for file in repository.glob(pattern) if file.is_file()}
    kept = sorted(file for file in files if not {"__pycache__", "wbcsr.egg-info"} & set(file.parts))
    workflow["hasPart"] = [
        _add_file(crate, file, file.relative_to(repository).as_posix(), f"workflow: {file.name}") for file in kept
    ]
    crate.get("README.md")["about"] = crate.root_dataset
    return workflow


def _add_file(crate: ROCrate, file: Path, place: str, name: str) -> Entity:
    kind = mimetypes.guess_type(place)[0] or "text/plain"
    return crate.add_file(file, place, properties={"name": name, "encodingFormat": kind}, record_size=True)


def _data_set(crate: ROCrate, settings: Mapping[str, Any]) -> Entity:
    """The data set, described by the name of its archive; the crate does not include it."""
    described = {
        "@type": "Dataset",
        "name": Path(settings["archive"]).name,
        "description": f"Images of the classes {', '.join(settings['classes'])}; not included.",
    }
    return crate.add(ContextEntity(crate, "#data-set", described))


def _versions(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The version of each package that made a result; if there are several versions, they are joined."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, version in record["versions"].items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}


def _times(records: Sequence[Mapping[str, Any]]) -> tuple[datetime, datetime]:
    """When the first job of the study started and the last one ended."""
    started = [datetime.fromisoformat(record["started"]) for record in records]
    ended = [begin + timedelta(seconds=record["seconds"]) for begin, record in zip(started, records, strict=True)]
    return min(started), max(ended)
