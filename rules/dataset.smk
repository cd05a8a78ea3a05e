"""From the archive to images.csv, the original images, their sources, and the splits."""


localrules:
    download_archive,
    split_dataset,


rule download_archive:
    output:
        "data/archive.zip",
    log:
        "logs/download_archive/archive.log",
    conda:
        "../envs/download.yaml"
    params:
        kaggle=config["dataset"]["kaggle"],
    message:
        "Downloading {params.kaggle} from Kaggle"
    script:
        "../scripts/download_archive.py"


rule draw_archive:
    output:
        "data/drawn.zip",
    log:
        "logs/draw_archive/drawn.log",
    benchmark:
        "benchmarks/draw_archive/drawn.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        drawing=config["drawing"],
        dataset=config["dataset"],
    message:
        "Drawing blood smears"
    script:
        "../scripts/draw_archive.py"


rule ingest_dataset:
    input:
        archive=config["dataset"]["archive"],
    output:
        images="results/dataset/images.csv",
        rejected="results/dataset/rejected.csv",
        manifests=expand(ORIGINAL_MANIFEST, partition=PARTITIONS, class_name=CLASSES),
        provenance="results/dataset/provenance.json",
    log:
        "logs/ingest_dataset/ingest.log",
    benchmark:
        "benchmarks/ingest_dataset/ingest.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: 4
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        dataset=config["dataset"],
    message:
        "Ingesting {input.archive}"
    script:
        "../scripts/ingest_dataset.py"


rule find_sources:
    input:
        images=rules.ingest_dataset.output.images,
        manifests=manifests_of("original"),
        archive=config["dataset"]["archive"],
        table=config["sources"]["table"] or [],
    output:
        sources="results/dataset/sources.csv",
        provenance="results/dataset/sources.provenance.json",
    log:
        "logs/find_sources/sources.log",
    benchmark:
        "benchmarks/find_sources/sources.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: 8
    resources:
        # Fitted to one another, all images' features are held at once.
        mem_mb=growing(2000 if config["sources"]["method"] != "images" else 8000),
        runtime=growing(60),
    params:
        sources=config["sources"],
        photographs=config["dataset"]["photographs"],
    message:
        "Finding the photograph that each image was made from"
    script:
        "../scripts/find_sources.py"


rule split_dataset:
    input:
        images=rules.ingest_dataset.output.images,
    output:
        split="results/splits/{split}.csv",
        provenance="results/splits/{split}.provenance.json",
    log:
        "logs/split_dataset/{split}.log",
    benchmark:
        "benchmarks/split_dataset/{split}.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        dataset=config["dataset"],
        validation_fraction=config["validation_fraction"],
    message:
        "Splitting the images: {wildcards.split}"
    script:
        "../scripts/split_dataset.py"
