"""Variants that show whether super-resolution could help: what an ideal enlargement would give."""


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
        runtime=growing(60),
    params:
        dataset=PHOTOGRAPHED,
        state=state_of_photographs,
    message:
        "Warping the photographs of {wildcards.partition} {wildcards.class_name} ({wildcards.shard} of {wildcards.shards})"
    script:
        "../scripts/make_ceiling.py"
