"""Variants that show whether super-resolution could help: see Methods, "Controls"."""


rule make_ceiling:
    input:
        originals=ORIGINAL_MANIFEST,
        whole=WHOLE_MANIFEST,
        sources=SOURCES,
        cells=CELLS["dataset"].cells if CELLS else [],
        archive=ARCHIVE,
    output:
        manifest=f"{SHARD}.csv",
        provenance=f"{SHARD}.provenance.json",
    log:
        "logs/make_ceiling/{variant}/{partition}/{class_name}/{shard}of{shards}.log",
    benchmark:
        "benchmarks/make_ceiling/{variant}/{partition}/{class_name}/{shard}of{shards}.tsv"
    wildcard_constraints:
        variant="ceiling",
    conda:
        "../envs/workflow.yaml"
    threads: 4
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        dataset=PHOTOGRAPHED,
        state=state_of_photographs,
        storing=storing_of,
    message:
        "Warping the photographs of {wildcards.partition} {wildcards.class_name} ({wildcards.shard} of {wildcards.shards})"
    script:
        "../scripts/make_ceiling.py"


SHARPENING = "results/images/{variant}/sharpening"
SHARPENED = [variant for variant in config["variants"] if parse_variant(variant)[0] == "sharpened"]


rule match_sharpening:
    input:
        originals=expand(ORIGINAL_MANIFEST, partition=PARTITIONS[0], class_name=CLASSES),
        upscaled=upscaled_like,
    output:
        sharpening=f"{SHARPENING}.json",
        provenance=f"{SHARPENING}.provenance.json",
    log:
        "logs/match_sharpening/{variant}.log",
    benchmark:
        "benchmarks/match_sharpening/{variant}.tsv"
    wildcard_constraints:
        variant=only(SHARPENED),
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        scale=lambda wildcards: parse_variant(wildcards.variant)[1],
    message:
        "Matching the sharpness of {wildcards.variant} to Real-ESRGAN"
    script:
        "../scripts/match_sharpening.py"


rule sharpen:
    input:
        originals=ORIGINAL_MANIFEST,
        sharpening=rules.match_sharpening.output.sharpening,
    output:
        manifest=f"{SHARD}.csv",
        provenance=update(f"{SHARD}.provenance.json"),
    log:
        "logs/sharpen/{variant}/{partition}/{class_name}/{shard}of{shards}.log",
    benchmark:
        "benchmarks/sharpen/{variant}/{partition}/{class_name}/{shard}of{shards}.tsv"
    wildcard_constraints:
        variant=only(SHARPENED),
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        storing=storing_of,
    message:
        "Sharpening {wildcards.partition} {wildcards.class_name} to {wildcards.variant} ({wildcards.shard} of {wildcards.shards})"
    script:
        "../scripts/sharpen.py"
