"""Networks made ready for one device, precision and shape."""


rule compile_upscaler:
    input:
        weights=rules.fetch_weights.output.weights,
        images=rules.ingest_dataset.output.images,
    output:
        engine=ENGINE,
    log:
        "logs/compile_upscaler/{model}.log",
    benchmark:
        "benchmarks/compile_upscaler/{model}.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=1,
    params:
        inference=config["inference"],
    message:
        "Making {wildcards.model} ready"
    script:
        "../scripts/compile_upscaler.py"
