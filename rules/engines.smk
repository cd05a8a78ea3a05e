"""Networks made ready for one device, precision and shape."""

ENGINE = "results/engines/{model}/engine.json"


def engine_of(variant):
    """The engine that a variant needs, if it needs one."""
    return expand(ENGINE, model=model_of(variant)) if variant.startswith("realesrgan") else []


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
