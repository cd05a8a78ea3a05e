"""The workflow on a real SLURM: what it submits, what its jobs see, and the results."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import does, rule_of
from compared import differences
from runs import NO_NETWORK, PROFILE, RUN_TARGET, SHARD_TARGET, Study, requested
from studies import REPOSITORY

from wbcsr.files import sha256

NETWORK_RULES = {
    *("compile_upscaler", "check_upscaler", "upscale", "measure_fidelity", "train_classifier"),
    *("compile_classifier", "check_classifier", "predict"),
}
OTHER_RULES = {
    "make_synthetic_archive",
    "ingest_dataset",
    "find_sources",
    "pack_images",
    "explain_changes",
}


def test_a_study_on_slurm_equals_a_local_one(whole_study: Study, small_study: Path, tmp_path: Path) -> None:
    shutil.copytree(small_study / "results", tmp_path / "results", copy_function=os.link)
    for folder in [*tmp_path.glob("results/engines/any"), *tmp_path.glob("results/runs/*/*/*/engine/any")]:
        folder.rename(folder.with_name("h100"))
    assert differences(whole_study.folder, tmp_path) == []


# SLURM jobs of the small study: the name of a rule, or of a group with its rules; and how many.
SUBMITTED = {
    "make_synthetic_archive": 1,
    "ingest_dataset": 1,
    "find_sources": 1,
    "pack_images": 2,
    "explain_changes": 1,
    "engine_check_upscaler_compile_upscaler": 1,
    "upscaled_upscale": 1,
    "measure_fidelity": 1,
    "train_classifier": 3,
    "test_check_classifier_compile_classifier_predict": 3,
}


def test_short_jobs_share_a_slurm_job(whole_study: Study) -> None:
    """Downloads, splits, tables and the report do not run on SLURM."""
    assert Counter(rule_of(record) for record in whole_study.jobs()) == SUBMITTED


def test_slurm_jobs_request_the_largest_resources_and_the_sum_of_times(whole_study: Study) -> None:
    asked = [requested(record) for record in whole_study.jobs()]
    for record, job in zip(whole_study.jobs(), asked, strict=True):
        on_gpu = any(does(record, rule) for rule in NETWORK_RULES)
        assert (job["partition"], job["gpus"]) == (("gpu", "h100:1") if on_gpu else ("cpu", "")), job
    requests = {job["rule"]: (job["cores"], job["memory"], job["time"]) for job in asked}
    assert requests["upscaled_upscale"] == ("8", "4000M", "04:00:00")
    assert requests["test_check_classifier_compile_classifier_predict"][:2] == ("8", "8000M")


def test_comments_and_names_identify_jobs(whole_study: Study) -> None:
    comments = [record["Comment"] for record in whole_study.jobs("train_classifier", "pack_images")]
    assert len(set(comments)) == len(comments)
    assert "rule_train_classifier_wildcards_paper_original_0" in comments
    (name,) = {record["JobName"] for record in whole_study.jobs()}
    assert re.fullmatch(r"wbcsr_[0-9a-f-]{36}", name)
    assert f"SLURM run ID: {name}" in whole_study.output()


@pytest.mark.parametrize("rule", sorted(NETWORK_RULES | OTHER_RULES))
def test_logs_name_node_versions_and_gpus(whole_study: Study, rule: str) -> None:
    log = whole_study.log(rule)
    numbers = {record["JobId"] for record in whole_study.jobs(rule)}
    assert set(re.findall(rf"{rule}.* on node \S+, SLURM job (\d+), \d+ threads", log)) == numbers
    assert "versions: python 3" in log
    gpus = {line.split("GPUs: ")[1] for line in log.splitlines() if "GPUs: " in line}
    if rule in NETWORK_RULES:
        # The first two devices are of model h100. There is no driver, so nvidia-smi cannot name them.
        assert gpus <= {f"CUDA_VISIBLE_DEVICES={device} (nvidia-smi names none)" for device in (0, 1)}
        assert gpus
    else:
        assert gpus == {"none requested, none visible"}


@pytest.mark.parametrize(("rule", "left"), [("upscale", "shard of 5 to 10 minutes"), ("train_classifier", "min left")])
def test_logs_report_the_speed(whole_study: Study, rule: str, left: str) -> None:
    assert re.search(rf"[\d.]+ images/s[,;] .*{left}", whole_study.log(rule))


def test_slurm_gives_each_job_the_devices_that_it_requested(whole_study: Study) -> None:
    """The devices are read by the first process of a job, before the workflow's own code could hide any."""
    given: dict[str, str] = {}
    for line in (whole_study.folder / "jobs.txt").read_text().splitlines():
        given.setdefault(*line.split(" ", 1))
    for record in whole_study.jobs():
        # The first two devices are of model h100.
        on_gpu = any(does(record, rule) for rule in NETWORK_RULES)
        assert given[record["JobId"]] in ({"0", "1"} if on_gpu else {"none"}), record


def test_no_job_on_a_compute_node_uses_the_network(whole_study: Study, tmp_path: Path) -> None:
    guarded = {line.split()[0] for line in (whole_study.folder / "jobs.txt").read_text().splitlines()}
    assert guarded == {record["JobId"] for record in whole_study.jobs()}
    assert not (whole_study.folder / "reached.txt").exists()
    # The code that would have recorded it.
    reach = NO_NETWORK.format(record=str(tmp_path / "reached.txt"), jobs=str(tmp_path / "jobs.txt"))
    reach += "import urllib.request; urllib.request.urlopen('http://nowhere.invalid')"
    result = subprocess.run(
        [sys.executable, "-c", reach], env={"SLURM_JOB_ID": "1"}, capture_output=True, text=True, check=False
    )
    assert "no network on a compute node" in result.stderr
    assert "nowhere.invalid" in (tmp_path / "reached.txt").read_text()


def test_a_dry_run_submits_nothing(study: Study) -> None:
    assert study.start("--dry-run", "--forceall").finish() == 0, study.output()
    assert re.search(r"upscale +4\n", study.output())
    assert study.jobs() == []


def test_one_job_upscales_one_class_by_another_scale(study: Study) -> None:
    target = SHARD_TARGET.replace("x4", "x2")
    assert study.start("--config", "variants=[original, realesrgan_x2]", "--", target).finish() == 0, study.output()
    assert [rule_of(record) for record in study.jobs()] == ["upscaled_upscale"]
    assert len(list((study.folder / target).parent.glob("_*.png"))) == 5


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ({"gpu_model": "a100"}, "TresPerJob"),
        ({"gpu_model": None, "gpu": 0, "gres": "gpu:a100:1", "slurm_partition": "gpu,urgent"}, "TresPerNode"),
    ],
    ids=["gpu_model", "gres"],
)
def test_engines_of_two_gpu_models_are_stored_separately(
    requests: dict[str, Any], field: str, study: Study, tmp_path: Path
) -> None:
    """Where SLURM does not accept `--gpus`, the profile requests the GPU and its model by `--gres`."""
    target = "results/engines/a100/RealESRGAN_x4plus/engine.json"

    def change(resources: dict[str, Any]) -> None:
        # In the file, one block defines the resources of all rules that refer to it.
        block = resources["upscale"]
        block.update(requests)
        for key in [key for key, value in block.items() if value is None]:
            del block[key]

    assert study.start("--", target, profile=edited(tmp_path, change)).finish() == 0, study.output()
    (record,) = study.jobs()
    assert record[field] == "gres:gpu:a100:1"
    # SLURM chooses one of several partitions.
    assert record["Partition"] in requests.get("slurm_partition", "gpu").split(",")
    # The third device is of model a100.
    assert "GPUs: CUDA_VISIBLE_DEVICES=2 " in study.log("compile_upscaler")
    assert (study.folder / target.replace("a100", "h100")).is_file()


def test_the_reason_why_slurm_refused_a_group_is_in_the_last_line(study: Study, tmp_path: Path) -> None:
    target = "results/engines/a100/RealESRGAN_x4plus/quality.json"
    change = {"gpu_model": "a100", "slurm_partition": "nowhere"}
    profile = edited(tmp_path, lambda resources: resources["upscale"].update(change))
    assert study.start("--retries", "0", "--", target, profile=profile).finish() != 0
    last = study.output().splitlines()[-1]
    assert re.match(r"error: rule compile_upscaler did not begin: SLURM sbatch failed.* nowhere ", last), study.output()


# The devices of the tests cannot compute, so the processes of a training use the CPU (gloo).
ON_THE_CPU = """
import sys
if sys.orig_argv[-1].endswith(".train_classifier.py"):
    from wbcsr.training.distributed import run
    run.__defaults__ = (*run.__defaults__[:-1], "cpu")
"""


def test_a_training_on_two_gpus_gets_both_and_runs_one_process_on_each(study: Study) -> None:
    guard = study.folder / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(ON_THE_CPU)
    study.environment["PYTHONPATH"] = f"{guard}:{REPOSITORY / 'scripts'}"
    study.remove(RUN_TARGET)
    assert study.start("--config", "train={gpus: 2}", "--", RUN_TARGET).finish() == 0, study.output()
    (record,) = study.jobs()
    assert {"cores": "16", "gpus": "h100:2"}.items() <= requested(record).items()
    log = study.log("train_classifier")
    assert "GPUs: CUDA_VISIBLE_DEVICES=0,1 " in log
    assert "starting 2 processes" in log
    folder = (study.folder / RUN_TARGET).parent
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + 3
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["outputs_sha256"][RUN_TARGET] == sha256(study.folder / RUN_TARGET)


def test_a_profile_with_two_gpu_models_for_engines_is_rejected(study: Study, tmp_path: Path) -> None:
    def mistake(resources: dict[str, Any]) -> None:
        resources["predict"] = {**resources["predict"], "gpu_model": "a100"}

    assert study.start(profile=edited(tmp_path, mistake)).finish() != 0
    (line,) = [line for line in study.output()[study.begin :].splitlines() if line.startswith("error: ")]
    assert re.match(r"error: profile: .*upscale h100.*predict a100", line)
    assert study.jobs() == []


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of the SLURM profile with changed resources of rules."""
    content = yaml.safe_load((PROFILE / "profile.yaml").read_text())
    change(content["set-resources"])
    (folder / "profile").mkdir()
    (folder / "profile" / "profile.yaml").write_text(yaml.safe_dump(content))
    return folder / "profile"


NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}


@pytest.fixture
def others_study(study: Study) -> Iterator[Study]:
    """The study in a folder of another user, with a copy of Python if only the owner can read the original."""
    folder = study.slurm.folder / "other"
    (folder / "home").mkdir(parents=True)
    python = Path(os.path.realpath(sys.executable))
    # A system Python can be used by all users.
    if not Path(sys.base_prefix).is_relative_to("/usr"):
        without = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")
        shutil.copytree(sys.base_prefix, folder / "python", ignore=without, symlinks=True)
        python = folder / "python" / python.relative_to(sys.base_prefix)
    environment = {
        "HOME": str(folder / "home"),
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_LIBRARY_PATH": str(folder / "python" / "lib"),
    }
    other = Study(folder / "study", study.slurm, [str(python)], environment, NOBODY)
    if not other.can_import("torch"):
        pytest.skip("two users at once were not tested: other users cannot read the packages")
    shutil.copytree(study.folder, other.folder)
    for path in [folder / "home", other.folder, *other.folder.rglob("*")]:
        os.chown(path, NOBODY["user"], NOBODY["group"])
    yield other
    other.end()


def test_runs_of_two_users_do_not_disturb_each_other(study: Study, others_study: Study, whole_study: Study) -> None:
    """Root in one folder and another user in another folder make the same files at the same time on one node."""
    studies = (study, others_study)
    for one in studies:
        one.remove(SHARD_TARGET)
        one.remove(RUN_TARGET)
        one.start("--", SHARD_TARGET, RUN_TARGET)
    assert [one.finish() for one in studies] == [0, 0], study.output() + others_study.output()
    users = {record["UserId"] for record in [*study.jobs(), *others_study.jobs()]}
    assert users == {"root(0)", "nobody(65534)"}
    for one in studies:
        assert differences(one.folder, whole_study.folder) == []


def rules() -> dict[str, str]:
    """The text of every rule."""
    texts = "\n".join(path.read_text() for path in sorted((REPOSITORY / "rules").glob("*.smk")))
    return dict(re.findall(r"^ *rule (\w+):\n((?:    .*\n|\n)+)", texts, re.MULTILINE))


def test_the_profile_lists_every_rule_that_uses_a_gpu() -> None:
    with_gpu = {rule for rule, body in rules().items() if re.search(r"^        gpu=", body, re.MULTILINE)}
    assert with_gpu >= NETWORK_RULES
    assert set(yaml.safe_load((PROFILE / "profile.yaml").read_text())["set-resources"]) == with_gpu


def test_the_slurm_page_lists_the_requests_of_jobs() -> None:
    """Cores, megabytes, minutes and GPUs of each rule that runs on SLURM in the whole study."""
    page = (REPOSITORY / "docs" / "slurm.md").read_text()
    row = r"^\| `(\w+)` \| \d+ \| (\d+)(?: × `train\.gpus`)? \| (\d+) GB.*? \| (\d+) (min|h) \| *([^|]*?) *\|"
    documented = {
        rule: (int(cores), 1000 * int(gigabytes), int(time) * {"min": 1, "h": 60}[unit], bool(gpu))
        for rule, cores, gigabytes, time, unit, gpu in re.findall(row, page, re.MULTILINE)
    }
    # The tests' study has no variant that is made by interpolating or by shrinking another one.
    others = {"interpolate", "shrink"}
    assert documented.keys() == (NETWORK_RULES | OTHER_RULES | others) - {"make_synthetic_archive"}
    for rule, body in rules().items():
        if rule in documented:
            numbers = {
                name: int(number)
                for name, number in re.findall(r"(threads: |mem_mb=growing\(|runtime=growing\()(\d+)", body)
            }
            asked = (numbers.get("threads: ", 1), numbers["mem_mb=growing("], numbers["runtime=growing("])
            assert (*asked, "gpu=" in body) == documented[rule], rule


@pytest.mark.parametrize(("profile", "jobs"), [("slurm", 108), ("local-gpu", 108)])
def test_a_profile_plans_the_whole_study(profile: str, jobs: int, tmp_path: Path) -> None:
    arguments = ["--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(PROFILE.with_name(profile))]
    planned = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--directory", str(tmp_path), "--dry-run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert planned.returncode == 0, planned.stdout
    assert re.search(rf"^total +{jobs}$", planned.stdout, re.MULTILINE)


def test_the_profile_can_be_used_by_name_from_any_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    install = ["make", "-C", str(REPOSITORY), "profile"]
    subprocess.run(install, env=environment, check=True, capture_output=True)
    installed = tmp_path / "config" / "snakemake" / "slurm" / "profile.yaml"
    installed.write_text(installed.read_text().replace("slurm_partition: gpu ", "slurm_partition: mine "))
    again = subprocess.run(install, env=environment, check=False, capture_output=True)
    assert again.returncode != 0
    assert b"is there already" in again.stderr
    assert "slurm_partition: mine " in installed.read_text()
    arguments = ["--profile", "slurm", "--snakefile", str(REPOSITORY / "Snakefile"), "--dry-run", "--quiet", "rules"]
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "This was a dry-run" in result.stdout
