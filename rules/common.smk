"""The configuration, checked, and the lists of jobs that follow from it alone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from wbcsr.config import complete, enhanced_variant, parse_variant, training_variants
from wbcsr.errors import InputError

try:
    config = complete(config, Path(workflow.basedir) / "config" / "schema.yaml")
except InputError as error:
    sys.exit(f"error: {error}")

CLASSES = config["dataset"]["classes"]
PARTITIONS = [config["dataset"]["partitions"][part] for part in ("train", "test")]
ENHANCED = enhanced_variant(config)
TRAINING = training_variants(config)
NETWORK_VARIANTS = r"realesrgan_x\d+"
INTERPOLATED_VARIANTS = r"(bicubic|lanczos)_x\d+"


wildcard_constraints:
    split="|".join(config["splits"]),
    training="|".join(TRAINING),
    variant="|".join(config["variants"]),
    seed=r"\d+",
    shard=r"\d+",


def manifests_of(variant):
    """The manifests of a variant: one for each partition, class and shard."""
    if variant == "original":
        pattern = ORIGINAL_MANIFEST
    else:
        pattern = f"results/images/{variant}/{{partition}}/{{class_name}}/manifest_{{shard}}of{config['shards']}.csv"
    shards = range(1, config["shards"] + 1)
    return expand(pattern, partition=PARTITIONS, class_name=CLASSES, shard=shards if variant != "original" else [0])


ORIGINAL_MANIFEST = "results/images/original/{partition}/{class_name}/manifest.csv"
