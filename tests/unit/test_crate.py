"""The crate of a study, read back by the RO-Crate library."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from rocrate.rocrate import ROCrate

from defaults import config_of
from wbcsr.crate import write_crate
from wbcsr.errors import InputError
from wbcsr.files import write_json, write_text

REPOSITORY = Path(__file__).parents[2]
TABLE = "results/tables/comparison.csv"
RECORDS = {
    "results/dataset/provenance.json": ("2026-01-02T03:04:05+00:00", 10, {"snakemake": "9.1", "numpy": "2.1"}),
    "results/tables/provenance.json": ("2026-01-02T04:00:00+00:00", 90, {"snakemake": "9.1", "numpy": "2.2"}),
}
SECRET = "/home/somebody/archive.zip"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The configuration of a study with one table and two provenances in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_text(TABLE, "a,b\n")
    for path, (started, seconds, versions) in RECORDS.items():
        write_json(path, {"started": started, "seconds": seconds, "versions": versions})
    return config_of(dataset={"archive": SECRET})


def crate_of(study: dict[str, Any]) -> ROCrate:
    write_crate(Path("study.crate.zip"), REPOSITORY, [TABLE, *RECORDS], study)
    return ROCrate("study.crate.zip")


def test_the_run_is_described(study: dict[str, Any]) -> None:
    crate = crate_of(study)
    (run,) = crate.get_by_type("CreateAction")
    assert (run["instrument"].id, crate.mainEntity.id) == ("Snakefile", "Snakefile")
    assert (run["startTime"], run["endTime"]) == ("2026-01-02T03:04:05+00:00", "2026-01-02T04:01:30+00:00")
    assert {result.id for result in run["result"]} == {TABLE, *RECORDS}
    software = {part["name"]: part["softwareVersion"] for part in crate.mainEntity["softwareRequirements"]}
    assert software == {"snakemake": "9.1", "numpy": "2.1, 2.2"}
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert crate.root_dataset["license"]["name"] == citation["license"]
    assert crate.root_dataset["author"]["name"] == citation["authors"][0]["name"]
    assert crate.mainEntity["version"] == citation["version"]


def test_files_in_the_crate_and_descriptions_correspond(study: dict[str, Any]) -> None:
    described = {entity.id for entity in crate_of(study).data_entities if entity.type != "Dataset"}
    with zipfile.ZipFile("study.crate.zip") as packed:
        held = set(packed.namelist())
        assert packed.read(TABLE) == b"a,b\n"
    assert held - {"ro-crate-metadata.json"} == described
    assert {path for path in held if path.startswith("results")} == {TABLE, *RECORDS}
    assert {"rules/common.smk", "scripts/crate.py", "scripts/wbcsr/report/template.html.j2", "LICENSE"} < held


def test_the_crate_contains_no_folder_names_of_the_user(study: dict[str, Any]) -> None:
    data_set = crate_of(study).get("#data-set")
    with zipfile.ZipFile("study.crate.zip") as packed:
        used = yaml.safe_load(packed.read("config/study.yaml"))
        assert not any(b"/home/somebody" in packed.read(name) for name in packed.namelist())
    assert (used["dataset"]["archive"], data_set["name"]) == ("archive.zip", "archive.zip")
    assert used["seeds"] == study["seeds"]


def test_without_a_provenance_there_is_no_crate(study: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^study\.crate\.zip: "):
        write_crate(Path("study.crate.zip"), REPOSITORY, [TABLE], study)
    assert not Path("study.crate.zip").exists()
