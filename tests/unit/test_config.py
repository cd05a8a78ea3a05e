"""The configuration: defaults, bounds, and one line for every mistake."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from wbcsr.config import (
    enhanced_variant,
    input_size_of,
    parse_split,
    parse_training,
    parse_variant,
    split_names,
    tested_variants,
    training_variants,
)
from wbcsr.config.schema import RENAMED_KEYS, RENAMED_SPLITS, complete, with_new_names
from wbcsr.config.surroundings import check_deployment, check_files, one_gpu_model
from wbcsr.errors import InputError
from wbcsr.files import sha256

CONFIG = Path(__file__).parents[2] / "config"
SCHEMA = CONFIG / "schema.yaml"
FINETUNED: dict[str, Any] = {
    "variants": ["original", "finetuned_x4"],
    "splits": ["by_source"],
    "dataset": {"photographs": "photographs"},
}


def merged(name: str) -> dict[str, Any]:
    """A configuration as Snakemake merges it over config.yaml."""
    base = yaml.safe_load((CONFIG / "config.yaml").read_text())
    for key, value in yaml.safe_load((CONFIG / name).read_text()).items():
        base[key] = {**base.get(key, {}), **value} if isinstance(value, dict) else value
    return base


@pytest.mark.parametrize(
    "name",
    [
        *(
            "config.yaml",
            "quick.yaml",
            "demo.yaml",
            "answer.yaml",
            "answer-cells.yaml",
            "cells.yaml",
            "recovery.yaml",
            "finetune.yaml",
            "finetune-cpu.yaml",
            "finetune-demo.yaml",
            "evidence.yaml",
            "benchmark.yaml",
            "benchmark-gpu.yaml",
            "gpu.yaml",
        ),
        *(f"datasets/{path.name}" for path in (CONFIG / "datasets").glob("*.yaml")),
    ],
)
def test_shipped_configurations_are_valid(name: str) -> None:
    config = complete(merged(name), SCHEMA)
    assert config["train"]["weight_decay"] == 0.05  # a default that no configuration file sets
    assert "realesrgan_x4" in config["variants"]


def test_folders_of_the_classes_become_members() -> None:
    """Every other stage sees a list of classes."""
    dataset = complete({"dataset": {"classes": {" b ": ["SNE", "BNE "], "a": ["MO"]}}}, SCHEMA)["dataset"]
    assert (dataset["classes"], dataset["members"]) == (["b", "a"], {"b": ["SNE", "BNE"], "a": ["MO"]})
    section = {"classes": dataset["classes"], "members": dataset["members"]}
    assert complete({"dataset": section}, SCHEMA)["dataset"] == dataset


def walk(rules: dict[str, Any], place: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for key, value in rules.get("properties", {}).items():
        found += [(f"{place}{key}", value), *walk(value, f"{place}{key}.")]
    return found


@pytest.mark.parametrize(("key", "rules"), walk(yaml.safe_load(SCHEMA.read_text())))
def test_every_key_has_description_default_and_bounds(key: str, rules: dict[str, Any]) -> None:
    assert rules["description"]
    assert "default" in rules
    bounds = {
        "minimum",
        "exclusiveMinimum",
        "enum",
        "pattern",
        "items",
        "properties",
        "propertyNames",
        "anyOf",
        "minLength",
    }
    unbounded = {"weights.path", "dataset.photographs"}
    assert bounds & rules.keys() or rules["type"] == "boolean" or key in unbounded
    if rules["type"] == "object" if "type" in rules else False:
        assert rules["additionalProperties"] is False or "propertyNames" in rules


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trian": {}}, "unknown key 'trian'; the nearest known key is 'train'"),
        ({"archive": "cells.zip"}, "the nearest known key is 'dataset.archive'"),
        ({"batch_size": 4}, "key is 'inference.batch_size' or 'finetune.batch_size' or 'train.batch_size'"),
        ({"dataset": {"classes": ["a", "predicted"]}}, "key 'dataset.classes.1': 'predicted'"),
        ({"train": {"epoch": 3}}, "unknown key 'train.epoch'; the nearest known key is 'train.epochs'"),
        ({True: 1, None: 2, "trian": 3}, "unknown key 'None'"),
        ({"train": None}, "key 'train': must be object, not empty"),
        (
            {"dataset": {"classes": ["yes", False]}},
            "'dataset.classes.1': must be string, not False (YAML also reads",
        ),
        ({"dataset": {"classes": ["a", False]}}, "put it in quotes"),
        ({"dataset": {"labels": {"file": "a.csv", "columns": {"partition": None}}}}, "columns.partition is null, but"),
        ({"dataset": {"labels": {"file": "a.csv", "name": "{0.real}"}}}, "key 'dataset.labels.name'"),
        ({"dataset": {"classes": {"a": ["x"], "b": ["y", "x"]}}}, "dataset.classes has 'x' in 'a' and in 'b'"),
        (
            {"dataset": {"classes": ["a", "b"], "members": {"a": ["x"]}}},
            "dataset.members must give the folders of each",
        ),
        ({"dataset": {"classes": {"a": ["x"], "b": []}}}, "key 'dataset.classes.b'"),
        ({"dataset": {"classes": {"a": ["x"], "../b": ["y"]}}}, "key 'dataset.classes'"),
        ({"dataset": {"archive": 7}}, "must be string, not 7; put it in quotes"),
        (
            {"dataset": {"classes": ["a", "\u00a0a "]}},
            "dataset.classes has two names",
        ),
        ({"train": {"epochs": 0}}, "key 'train.epochs'"),
        ({"train": {"epochs": "many"}}, "must be integer, not 'many'"),
        ({"train": []}, "key 'train': must be object"),
        ({"seeds": []}, "key 'seeds'"),
        ({"seeds": [1, 1]}, "key 'seeds'"),
        ({"variants": ["original", "bicubic_x9"]}, "key 'variants.1'"),
        ({"variants": ["bicubic_x4"], "dual": False}, "must contain 'original'"),
        ({"variants": ["original"]}, "dual needs a super-resolved variant"),
        ({"weights": {"source": "path"}}, "weights.path and weights.sha256 must be given"),
        ({"variants": ["original", "realsr_x4"]}, "models has no realsr; add it there, or write another variant"),
        ({"variants": ["original", "bicubc_x4"]}, "such as bicubic_x4"),
        ({"models": {"bicubic": {"path": "w.pth"}}}, "key 'models': 'bicubic' is a name that the workflow uses itself"),
        ({"models": {"lpips_alexnet": {"path": "w.pth"}}}, "'lpips_alexnet' is a name that the workflow uses itself"),
        ({"models": {"Mine": {"path": "w.pth"}}}, "key 'models'"),
        ({"models": {"mine": {}}}, "key 'models.mine.path'"),
        ({"models": {"mine": {"path": "w.pth", "sha": "0"}}}, "unknown key 'models.mine.sha'"),
        ({"inference": {"tile": 64, "overlap": 32}}, "overlap must be less than half"),
        ({"inference": {"batch_size": "big"}}, "key 'inference.batch_size'"),
        ({"dataset": {"classes": ["a", "A"]}}, "dataset.classes has two names"),
        ({"dataset": {"classes": ["a", "../b"]}}, "key 'dataset.classes.1'"),
        ({"dataset": {"classes": ["a", "b{c}"]}}, "key 'dataset.classes.1'"),
        ({"dataset": {"classes": ["a", "predicted"]}}, "key 'dataset.classes.1'"),
        ({"dataset": {"classes": ["a", "<b>"]}}, "key 'dataset.classes.1'"),
        ({"dataset": {"classes": [1, 2]}}, "must be string, not 1; put it in quotes"),
        ({"dataset": {"archive": "a<b>.zip"}}, "key 'dataset.archive'"),
        ({"dataset": {"partitions": {"train": "..", "test": "X"}}}, "key 'dataset.partitions.train'"),
        ({"dataset": {"partitions": {"train": "X", "test": "X"}}}, "name the same folder"),
        ({"dataset": {"partitions": {"train": "X", "test": "Y", "validation": "Y"}}}, ".validation and .test name the"),
        ({"dataset": {"partitions": {"validation": "VAL"}}}, "the images of .validation (VAL)"),
        ({"dataset": {"partitions": {"extra_tests": {"other camera": "X"}}}}, "key 'dataset.partitions.extra_tests'"),
        ({"dataset": {"partitions": {"extra_tests": {"other": ".."}}}}, "key 'dataset.partitions.extra_tests.other'"),
        ({"dataset": {"partitions": {"extra_tests": {"Test": "X"}}}}, "extra_tests has the name 'Test', which tables"),
        ({"dataset": {"partitions": {"extra_tests": {"other": "TEST"}}}}, "name the same folder"),
        ({"splits": ["published"]}, "dataset.partitions.validation names no folder"),
        ({"splits": ["published"], "dataset": {"partitions": None}}, "dataset.partitions.validation names no folder"),
        ({"dataset": {"partitions": None}}, "the split paper needs dataset.partitions"),
        ({"sources": {"method": "groups"}}, "sources.method groups needs dataset.labels"),
        ({"splits": ["custom"]}, "splits has custom, so the key custom must name its CSV file"),
        ({"custom": "mine.csv"}, "the key custom names a split, but splits lacks custom"),
        ({"sources": {"method": "photographs"}}, "dataset.photographs must name their folder"),
        ({"sources": {"method": "pattern"}}, "sources.pattern must be given"),
        ({"sources": {"method": "table"}}, "sources.table must be given"),
        (
            {"sources": {"pattern": r"^(\d+)"}},
            "sources.pattern is given, but sources.method is auto; set it to pattern",
        ),
        (
            {"sources": {"method": "pattern", "pattern": "(", "table": None}},
            "sources.pattern '(' is not a regular expression",
        ),
        ({"sources": {"method": "pattern", "pattern": r"\d+"}}, "has 0 groups; put the source, and only it"),
        ({"sources": {"method": "pattern", "pattern": "(a)(b)"}}, "has 2 groups; put the source, and only it"),
        ({"sources": {"min_inliers": 3}}, "key 'sources.min_inliers'"),
        ({"splits": ["by_source"]}, "sources.method is auto and dataset.photographs is null, so no source is known"),
        ({"splits": ["by_source"], "sources": {"method": "none"}}, "sources.method is none, so no source is known"),
        ({"splits": ["by_sauce"]}, "key 'splits.0'"),
        ({"by_source": {"parts": 2}}, "key 'by_source.parts'"),
        ({"by_source": {"parts": 3, "folds": 4}}, "by_source.folds 4 is more than by_source.parts 3"),
        ({"train": {"extra_input_sizes": [448, 224]}}, "train.extra_input_sizes contains train.input_size 224"),
        ({"train": {"extra_input_sizes": [448, 448]}}, "key 'train.extra_input_sizes'"),
        ({"dataset": {"range": [4095, 0]}}, "dataset.range"),
        ({"dataset": {"range": [100, 100]}}, "dataset.range"),
        ({"dataset": {"range": [0, 1e10]}}, "key 'dataset.range.1'"),
        ({"dataset": {"range": [4095]}}, "key 'dataset.range'"),
        ({"evaluation": {"margin": 0}}, "key 'evaluation.margin'"),
        ({"evaluation": {"margin": 3}}, "key 'evaluation.margin'"),
        ({"evaluation": {"primary": {"metric": "f1"}}}, "key 'evaluation.primary.metric'"),
        ({"evaluation": {"primary": {"split": "by_source"}}}, "evaluation.primary.split is by_source, which splits"),
        ({"evaluation": {"primary": {"variant": "bicubic_x2"}}}, "evaluation.primary.variant is bicubic_x2, which"),
        ({"evaluation": {"primary": {"against": "lanczos_x4"}}}, "evaluation.primary.against is lanczos_x4, which"),
        ({"evaluation": {"primary": {"against": "realesrgan_x4"}}}, "compares realesrgan_x4 with itself"),
        ({"variants": ["original", "ceiling"], "dual": False}, "variants has ceiling, the photograph of each image"),
        (
            {
                "variants": ["original", "ceiling"],
                "dual": False,
                "dataset": {"photographs": "p"},
                "sources": {"method": "images"},
            },
            "sources.method is images; set it to photographs",
        ),
        ({**FINETUNED, "dataset": {"photographs": None}}, "on the photographs, but dataset.photographs is null"),
        ({**FINETUNED, "splits": ["by_source", "paper"]}, "in the split paper nearly every photograph is"),
        ({**FINETUNED, "view": {"around": "cell", "side": 96, "reduce_to": 64}}, "finetuned_x4, whose network is"),
        ({"view": {"reduce_to": 64}}, "view.around is image; set it to cell"),
        ({"view": {"around": "cell", "side": 64, "reduce_to": 64}}, "view.side is 64; set reduce_to to less"),
        ({"variants": ["original", "realesrgan_x4", "sharpened_x2"]}, "and lacks realesrgan_x2; add it"),
        (
            {"store": "none", "variants": ["original", "realesrgan_x4", "sharpened_x4"]},
            "set store to sample, or take sharpened_x4 out",
        ),
        ({"subsample": {"per_class": 0}}, "key 'subsample.per_class'"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate must be a number"),
        ({"train": {"init": "random", "frozen_stages": 1}}, "train.frozen_stages must be 0"),
        ({"nonsense": 1, "train": {"epochs": 0}}, "unknown key 'nonsense'"),
    ],
)
def test_a_mistake_gives_one_line_with_the_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        complete(change, SCHEMA)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "primary"),
    [
        ({}, ("paper", "realesrgan_x4", "original")),
        ({"variants": ["original", "bicubic_x2", "bicubic_x4"], "dual": False}, ("paper", "bicubic_x4", "original")),
        ({"variants": ["original"], "dual": False}, ("paper", None, "original")),
        (
            {"splits": ["paper", "by_source"], "sources": {"method": "each"}},
            ("by_source", "realesrgan_x4", "original"),
        ),
        ({"evaluation": {"primary": {"against": "bicubic_x4"}}}, ("paper", "realesrgan_x4", "bicubic_x4")),
    ],
)
def test_the_primary_comparison_is_recorded(change: dict[str, Any], primary: tuple[str | None, ...]) -> None:
    found = complete(change, SCHEMA)
    recorded = found["evaluation"]["primary"]
    assert (recorded["split"], recorded["variant"], recorded["against"]) == primary
    assert (recorded["metric"], found["evaluation"]["margin"]) == ("macro_recall", 0.03)
    assert complete(found, SCHEMA) == found


RENAMED = {
    "a key": ({"given": "a.csv"}, {"custom": "a.csv"}, {"given": "custom"}),
    "a split": ({"splits": ["paper", "given"]}, {"splits": ["paper", "custom"]}, {"given": "custom"}),
    "choose": ({"choose": {"per_class": "7"}}, {"subsample": {"per_class": 7}}, {"choose": "subsample"}),
    "a section": ({"drawing": {"seed": 7}}, {"synthetic": {"seed": 7}}, {"drawing": "synthetic"}),
    "in a renamed section": (
        {"drawing": {"copies_per_source": 7}},
        {"synthetic": {"duplicates_per_source": 7}},
        {"drawing": "synthetic", "synthetic.copies_per_source": "synthetic.duplicates_per_source"},
    ),
    "cross": ({"cross": False}, {"cross_evaluate": False}, {"cross": "cross_evaluate"}),
    "gate": (
        {"inference": {"gate": {"psnr_db": 40}, "tile": 256}},
        {"inference": {"tolerances": {"psnr_db": 40}, "tile": 256}},
        {"inference.gate": "inference.tolerances"},
    ),
    "input sizes": (
        {"train": {"more_input_sizes": [96]}},
        {"train": {"extra_input_sizes": [96]}},
        {"train.more_input_sizes": "train.extra_input_sizes"},
    ),
}
CUSTOM = {"splits": ["paper", "custom"], "custom": "a.csv"}


@pytest.mark.parametrize(("old", "new", "names"), RENAMED.values(), ids=RENAMED)
def test_an_old_key_works_like_the_new_one_and_gives_a_warning(
    old: dict[str, Any], new: dict[str, Any], names: dict[str, str]
) -> None:
    untouched = copy.deepcopy(old)
    renamed, warning = with_new_names({**CUSTOM, **old} if "given" not in old else {"splits": CUSTOM["splits"], **old})
    assert complete(renamed, SCHEMA) == complete({**CUSTOM, **new}, SCHEMA)
    assert warning is not None
    assert dict(re.findall(r"(\S+) is now ([\w.]+)", warning)) == names
    assert "\n" not in warning
    assert old == untouched


def test_renamed_keys_are_tested_and_absent_from_the_schema() -> None:
    known = {key for key, _ in walk(yaml.safe_load(SCHEMA.read_text()))}
    assert set(RENAMED_KEYS.values()) <= known
    assert not set(RENAMED_KEYS) & known
    assert {old for *_, names in RENAMED.values() for old in names} == RENAMED_KEYS.keys() | RENAMED_SPLITS.keys()


@pytest.mark.parametrize("config", [{}, CUSTOM, {"inference": None, "splits": "given"}])
def test_without_old_keys_there_is_no_warning_and_no_change(config: dict[str, Any]) -> None:
    assert with_new_names(config) == (config, None)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"given": "a.csv", "custom": None}, "given"),
        ({"drawing": {}, "synthetic": {}}, "drawing"),
        ({"train": {"more_input_sizes": [], "extra_input_sizes": []}}, "train.more_input_sizes"),
    ],
)
def test_a_key_set_under_both_names_is_rejected(config: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError, match=rf"{key} is the old name of \S+, and both are set; remove {key}$"):
        with_new_names(config)


def test_variants() -> None:
    config = complete({"variants": ["original", "lanczos_x2", "realesrgan_x4", "realesrgan_x2"]}, SCHEMA)
    assert enhanced_variant(config["variants"]) == "realesrgan_x4"
    assert training_variants(config)["dual"] == ["original", "realesrgan_x4"]
    assert parse_variant("lanczos_x2") == ("lanczos", 2)
    assert parse_variant("original") == ("original", 1)


def test_a_classifier_is_tested_on_its_own_variants_first_and_with_cross_evaluation_on_all() -> None:
    change = {"variants": ["original", "bicubic_x4", "realesrgan_x4"]}
    own = {**{name: [name] for name in change["variants"]}, "dual": ["original", "realesrgan_x4"]}
    assert tested_variants(complete({**change, "cross_evaluate": False}, SCHEMA)) == own
    assert tested_variants(complete(change, SCHEMA)) == {
        "original": ["original", "bicubic_x4", "realesrgan_x4"],
        "bicubic_x4": ["bicubic_x4", "original", "realesrgan_x4"],
        "realesrgan_x4": ["realesrgan_x4", "original", "bicubic_x4"],
        "dual": ["original", "realesrgan_x4", "bicubic_x4"],
    }


@pytest.mark.parametrize(
    ("change", "sized"),
    [
        (
            {"variants": ["original", "bicubic_x4", "realesrgan_x4"]},
            {"original": ["original"], "realesrgan_x4": ["realesrgan_x4"], "dual": ["original", "realesrgan_x4"]},
        ),
        (
            {"variants": ["original", "lanczos_x2"], "dual": False},
            {"original": ["original"], "lanczos_x2": ["lanczos_x2"]},
        ),
        ({"variants": ["original"], "dual": False}, {"original": ["original"]}),
    ],
)
def test_further_input_sizes_are_trained_and_tested_on_their_own_variants(
    change: dict[str, Any], sized: dict[str, list[str]]
) -> None:
    plain = complete(change, SCHEMA)
    config = complete({**change, "train": {"extra_input_sizes": [448, 96]}}, SCHEMA)
    further = {f"{name}_{size}px": variants for size in (448, 96) for name, variants in sized.items()}
    assert training_variants(config) == {**training_variants(plain), **further}
    assert tested_variants(config) == {**tested_variants(plain), **further}
    assert {name: input_size_of(name, config) for name in training_variants(config)} == {
        **dict.fromkeys(training_variants(plain), 224),
        **{name: 448 if "448" in name else 96 for name in further},
    }


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("original", ("original", None)),
        ("realesrgan_x4", ("realesrgan_x4", None)),
        ("realesrgan_x4_448px", ("realesrgan_x4", 448)),
        ("dual_96px", ("dual", 96)),
    ],
)
def test_a_training_is_named_by_variant_and_size(name: str, parsed: tuple[str, int | None]) -> None:
    assert parse_training(name) == parsed


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, ["paper"]),
        ({"splits": ["by_source"]}, ["by_source"]),
        ({"splits": ["by_source", "paper"], "by_source": {"folds": 2}}, ["by_source", "by_source_fold2", "paper"]),
    ],
)
def test_each_fold_has_its_own_split(change: dict[str, Any], names: list[str]) -> None:
    config = complete({**change, "sources": {"method": "images"}}, SCHEMA)
    assert split_names(config) == names
    assert [parse_split(name) for name in names] == [
        (name.removesuffix("_fold2"), 2 if name.endswith("_fold2") else 1) for name in names
    ]


def test_values_from_the_command_line_get_their_types() -> None:
    """Snakemake passes values inside the braces of `--config key='{a: 1}'` as text."""
    given = {
        "train": {"epochs": "3", "augment": "false", "init": "random", "learning_rate": "1e-3"},
        "seeds": ["0", "7"],
        "dual": "true",
        "inference": {"batch_size": "4"},
        "dataset": {"limit_per_class": "null", "photographs": "null", "classes": ["1", "true"]},
    }
    config = complete(given, SCHEMA)
    assert (config["train"]["epochs"], config["train"]["augment"], config["train"]["init"]) == (3, False, "random")
    assert config["train"]["learning_rate"] == 0.001
    assert (config["seeds"], config["dual"], config["inference"]["batch_size"]) == ([0, 7], True, 4)
    dataset = config["dataset"]
    assert (dataset["limit_per_class"], dataset["photographs"], dataset["classes"]) == (None, None, ["1", "true"])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"dataset": {"archive": "gone.zip"}}, "dataset.archive"),
        ({"train": {"init": "imagnet"}}, "train.init"),
        ({"sources": {"method": "table", "table": "gone.csv"}}, "sources.table"),
        ({"dataset": {"images": "gone.csv"}}, "dataset.images"),
        ({"dataset": {"links": "gone"}}, "dataset.links"),
        ({"weights": {"source": "path", "path": "gone.pth", "sha256": "0" * 64}}, "weights.path"),
        ({"models": {"mine": {"path": "gone.pth"}}}, "models.mine.path"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, change: dict[str, Any], key: str) -> None:
    made = {"data/archive.zip"}
    check_files(complete({}, SCHEMA), made)
    with pytest.raises(InputError, match=f"{key}: .* does not exist; create it or correct the key"):
        check_files(complete(change, SCHEMA), made)


def test_a_file_of_weights_without_its_hash_gets_the_line_to_add(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(b"weights")
    weights = {"source": "path", "path": str(path)}
    with pytest.raises(InputError, match=rf"weights\.sha256 .*'sha256: {sha256(path)}'"):
        check_files(complete({"weights": weights}, SCHEMA), {"data/archive.zip"})
    with pytest.raises(InputError, match=rf"models\.mine\.sha256 .*'sha256: {sha256(path)}'"):
        check_files(complete({"models": {"mine": {"path": str(path)}}}, SCHEMA), {"data/archive.zip"})
    for written in (sha256(path), f" {sha256(path).upper()}\n", f"sha256:{sha256(path)}"):
        check_files(complete({"weights": {**weights, "sha256": written}}, SCHEMA), {"data/archive.zip"})


@pytest.mark.parametrize(
    ("change", "key", "folder"),
    [
        ({"dataset": {"archive": "results/images/original"}}, "dataset.archive", "results"),
        ({"dataset": {"archive": "../study/logs"}}, "dataset.archive", "logs"),
        ({"dataset": {"archive": "link"}}, "dataset.archive", "results"),
        ({"dataset": {"images": "results/dataset/chosen.csv"}}, "dataset.images", "results"),
        ({"dataset": {"labels": "./results/labels.csv"}}, "dataset.labels", "results"),
        ({"splits": ["custom"], "custom": "results/splits/paper.csv"}, "custom", "results"),
        ({"sources": {"method": "table", "table": "results/dataset/sources.csv"}}, "sources.table", "results"),
    ],
)
def test_data_inside_the_workflows_output_folders_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], key: str, folder: str
) -> None:
    (tmp_path / "study" / "results").mkdir(parents=True)
    (tmp_path / "study" / "link").symlink_to("results")
    monkeypatch.chdir(tmp_path / "study")
    with pytest.raises(InputError, match=rf"{key} \S+ is in {folder}, where the workflow writes its results; copy it"):
        check_files(complete(change, SCHEMA), {"data/archive.zip"})


@pytest.mark.parametrize(
    "config",
    [
        {"inference": {"tolerances": {"psnr_db": math.nan}}},
        {"inference": {"tolerances": {"changed_labels": math.nan}}},
        {"train": {"warmup": math.nan}},
        {"benchmark": {"seconds": math.nan}},
    ],
)
def test_nan_is_rejected(config: dict) -> None:
    """With a threshold of NaN, every check would pass."""
    with pytest.raises(InputError, match="must be a number, not nan"):
        complete(config, SCHEMA)


def test_an_integer_may_be_written_with_a_decimal_point() -> None:
    completed = complete({"inference": {"batch_size": 8.0, "tile": 256.0}}, SCHEMA)
    sizes = completed["inference"]["batch_size"], completed["inference"]["tile"]
    assert sizes == (8, 256)
    assert {type(size) for size in sizes} == {int}


@pytest.mark.parametrize(
    ("given", "model"), [([None, None], "any"), (["h100", "'h100'"], "h100"), (["a100_80"], "a100_80")]
)
def test_rules_that_share_engines_have_one_gpu_model(given: list[str | None], model: str) -> None:
    assert one_gpu_model({f"rule{number}": name for number, name in enumerate(given)}) == model


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["h100", "a100"], "gpu_model.*: rule0 h100, rule1 a100; "),
        (["h100", None], "gpu_model.*: rule0 h100, rule1 any; "),
        (["a100-sxm4"], "gpu_model 'a100-sxm4' cannot be submitted"),
        (["3090"], "gpu_model '3090' cannot be submitted"),
    ],
)
def test_invalid_gpu_models_are_rejected(given: list[str | None], words: str) -> None:
    with pytest.raises(InputError, match=words):
        one_gpu_model({f"rule{number}": name for number, name in enumerate(given)})


@pytest.mark.parametrize(
    ("methods", "container", "words"),
    [
        ({"apptainer"}, None, "apptainer: the key container is null"),
        ({"conda", "env-modules"}, None, "env-modules: no rule names modules"),
        ({"apptainer", "env-modules"}, "a.sif", "env-modules: no rule names modules"),
    ],
)
def test_a_deployment_method_that_no_rule_declares_is_rejected(
    methods: set[str], container: str | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_deployment(methods, {"container": container})


@pytest.mark.parametrize(
    ("methods", "container", "warned"),
    [
        (set(), None, False),
        ({"conda"}, None, False),
        ({"apptainer"}, "a.sif", False),
        ({"conda", "apptainer"}, "docker://a/b:1", False),
        (set(), "a.sif", True),
    ],
)
def test_a_container_that_no_job_uses_gives_a_warning(methods: set[str], container: str | None, warned: bool) -> None:
    assert bool(check_deployment(methods, {"container": container})) == warned
