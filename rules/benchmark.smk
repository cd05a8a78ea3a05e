"""How fast the networks run on this machine."""


rule benchmark_engines:
    input:
        weights=expand(rules.fetch_weights.output.weights, model=sorted(set(MODELS.values()))),
        manifests=manifests_of("original"),
    output:
        csv="results/benchmark/engines.csv",
        table="results/benchmark/engines.md",
        provenance="results/benchmark/engines.provenance.json",
    log:
        "logs/benchmark_engines/engines.log",
    benchmark:
        "benchmarks/benchmark_engines/engines.tsv"
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
        gpu=1,
    params:
        classes=CLASSES,
        input_size=config["train"]["input_size"],
        inference=config["inference"],
        settings=config["benchmark"],
    message:
        "Measuring the networks by each backend"
    script:
        "../scripts/benchmark_engines.py"


rule benchmark:
    input:
        rules.benchmark_engines.output,
