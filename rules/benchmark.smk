"""Benchmarks of all parts on the machine of the job, compared with other programs; see the section benchmark."""

# The network of the first super-resolved variant; if there is none, the default network is measured.
MEASURED_MODEL = next(iter(MODELS.values()), model_for_scale(4, config["weights"]["source"]))
# All cores, so that nothing else runs at the same time; on a cluster, where a profile gives none, the usual 8 of a job.
ALL_CORES = workflow.resource_settings.cores or 8
# The key in_report is left out, because it affects the report but no measurement.
MEASURING = {key: value for key, value in config["benchmark"].items() if key != "in_report"}


rule benchmark_upscaling:
    input:
        weights=f"{WEIGHTS}.safetensors".format(model=MEASURED_MODEL),
        manifests=manifests_of("original"),
    output:
        **measurements("upscaling"),
    log:
        "logs/benchmark_upscaling/upscaling.log",
    benchmark:
        "benchmarks/benchmark_upscaling/upscaling.tsv"
    conda:
        NETWORKS
    threads: ALL_CORES
    resources:
        # All systems stay in memory while they are measured in turn.
        mem_mb=growing(32000),
        runtime=growing(240),
        gpu=1,
    params:
        inference=config["inference"],
        settings=MEASURING,
    message:
        "Measuring upscaling and comparing it with other programs"
    script:
        "../scripts/benchmark_upscaling.py"


rule benchmark_batches:
    input:
        weights=f"{WEIGHTS}.safetensors".format(model=MEASURED_MODEL),
        manifests=manifests_of("original"),
    output:
        **measurements("batches"),
    log:
        "logs/benchmark_batches/batches.log",
    benchmark:
        "benchmarks/benchmark_batches/batches.tsv"
    conda:
        NETWORKS
    threads: ALL_CORES
    resources:
        mem_mb=growing(32000),
        runtime=growing(240),
        gpu=1,
    params:
        inference=config["inference"],
        settings=MEASURING,
    message:
        "Measuring the upscaler by batch size"
    script:
        "../scripts/benchmark_batches.py"


rule benchmark_scaling:
    input:
        weights=f"{WEIGHTS}.safetensors".format(model=MEASURED_MODEL),
        manifests=manifests_of("original"),
    output:
        **measurements("scaling"),
    log:
        "logs/benchmark_scaling/scaling.log",
    benchmark:
        "benchmarks/benchmark_scaling/scaling.tsv"
    conda:
        NETWORKS
    threads: ALL_CORES
    resources:
        mem_mb=growing(16000),
        runtime=growing(240),
        gpu=1,
    params:
        inference=config["inference"],
        settings=MEASURING,
    message:
        "Measuring how upscaling scales with images and processes"
    script:
        "../scripts/benchmark_scaling.py"


rule benchmark_packing:
    input:
        manifests=manifests_of("original"),
    output:
        **measurements("packing"),
    log:
        "logs/benchmark_packing/packing.log",
    benchmark:
        "benchmarks/benchmark_packing/packing.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: ALL_CORES
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        input_size=config["train"]["input_size"],
        settings=MEASURING,
    message:
        "Measuring packing and comparing it with torchvision"
    script:
        "../scripts/benchmark_packing.py"


rule benchmark_training:
    input:
        manifests=manifests_of("original"),
    output:
        **measurements("training"),
    log:
        "logs/benchmark_training/training.log",
    benchmark:
        "benchmarks/benchmark_training/training.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: ALL_CORES
    resources:
        mem_mb=growing(24000),
        runtime=growing(120),
        gpu=1,
    params:
        train=config["train"],
        settings=MEASURING,
    message:
        "Measuring training and comparing it with a typical script"
    script:
        "../scripts/benchmark_training.py"


rule benchmark_classifying:
    output:
        **measurements("classifying"),
    log:
        "logs/benchmark_classifying/classifying.log",
    benchmark:
        "benchmarks/benchmark_classifying/classifying.tsv"
    conda:
        NETWORKS
    threads: ALL_CORES
    resources:
        mem_mb=growing(16000),
        runtime=growing(120),
        gpu=1,
    params:
        classes=CLASSES,
        classifier=config["train"]["classifier"],
        input_size=config["train"]["input_size"],
        inference=config["inference"],
        settings=MEASURING,
    message:
        "Measuring the classifier with each backend"
    script:
        "../scripts/benchmark_classifying.py"


rule benchmark_workflow:
    output:
        **measurements("workflow"),
    log:
        "logs/benchmark_workflow/workflow.log",
    benchmark:
        "benchmarks/benchmark_workflow/workflow.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: ALL_CORES
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=MEASURING,
    message:
        "Measuring the overhead of the workflow"
    script:
        "../scripts/benchmark_workflow.py"


rule benchmark:
    input:
        rules.benchmark_upscaling.output,
        rules.benchmark_batches.output,
        rules.benchmark_scaling.output,
        rules.benchmark_packing.output,
        rules.benchmark_training.output,
        rules.benchmark_classifying.output,
        rules.benchmark_workflow.output,
