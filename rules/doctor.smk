"""What the node that this job runs on can do."""


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
        "Trying what this node can do"
    script:
        "../scripts/doctor.py"
