"""Upscaled images, one shard per job."""


rule upscale:
    input:
        originals=ORIGINAL_MANIFEST,
        weights=lambda wildcards: f"{WEIGHTS}.safetensors".format(model=MODELS[wildcards.variant]),
        engine=lambda wildcards: f"{ENGINE}/engine.json".format(model=MODELS[wildcards.variant]),
        # ancient: a changed threshold must be passed, but does not change images; other changes also change the engine.
        quality=lambda wildcards: ancient(f"{ENGINE}/quality.json".format(model=MODELS[wildcards.variant])),
    output:
        manifest=f"{SHARD}.csv",
        provenance=update(f"{SHARD}.provenance.json"),
    log:
        "logs/upscale/{variant}/{partition}/{class_name}/{shard}of{shards}.log",
    benchmark:
        "benchmarks/upscale/{variant}/{partition}/{class_name}/{shard}of{shards}.tsv"
    wildcard_constraints:
        variant=only(variant for variant in MODELS if variant not in SHRUNK),
    priority: 2
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=1,
    params:
        **{key: config["inference"][key] for key in ("tile", "overlap")},
        scale=lambda wildcards: parse_variant(wildcards.variant)[1],
        storing=storing_of,
    message:
        "Upscaling {wildcards.partition} {wildcards.class_name} to {wildcards.variant} ({wildcards.shard} of {wildcards.shards})"
    script:
        "../scripts/upscale.py"


rule interpolate:
    input:
        originals=ORIGINAL_MANIFEST,
    output:
        manifest=f"{SHARD}.csv",
        provenance=update(f"{SHARD}.provenance.json"),
    log:
        "logs/interpolate/{variant}/{partition}/{class_name}/{shard}of{shards}.log",
    benchmark:
        "benchmarks/interpolate/{variant}/{partition}/{class_name}/{shard}of{shards}.tsv"
    wildcard_constraints:
        variant=INTERPOLATED_VARIANTS,
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        method=lambda wildcards: parse_variant(wildcards.variant)[0],
        scale=lambda wildcards: parse_variant(wildcards.variant)[1],
        storing=storing_of,
    message:
        "Interpolating {wildcards.partition} {wildcards.class_name} to {wildcards.variant} ({wildcards.shard} of {wildcards.shards})"
    script:
        "../scripts/interpolate.py"


rule shrink:
    input:
        upscaled=lambda wildcards: f"{SHARD}.csv".format(**{**wildcards, "variant": SHRUNK[wildcards.variant]}),
    output:
        manifest=f"{SHARD}.csv",
        provenance=update(f"{SHARD}.provenance.json"),
    log:
        "logs/shrink/{variant}/{partition}/{class_name}/{shard}of{shards}.log",
    benchmark:
        "benchmarks/shrink/{variant}/{partition}/{class_name}/{shard}of{shards}.tsv"
    wildcard_constraints:
        variant=only(SHRUNK),
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        factor=lambda wildcards: parse_variant(SHRUNK[wildcards.variant])[1],
        scale=lambda wildcards: parse_variant(wildcards.variant)[1],
    message:
        "Shrinking {wildcards.partition} {wildcards.class_name} to {wildcards.variant} ({wildcards.shard} of {wildcards.shards})"
    script:
        "../scripts/shrink.py"
