"""The doctor: what can run on the node of this job."""


rule doctor:
    output:
        findings="results/doctor.json",
    log:
        "logs/doctor.log",
    benchmark:
        "benchmarks/doctor.tsv"
    conda:
        NETWORKS
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(40),
        gpu=1,
    params:
        inference=config["inference"],
    message:
        "Checking what this node can run"
    script:
        "../scripts/doctor.py"
