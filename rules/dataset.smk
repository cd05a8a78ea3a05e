"""From the archive to images.csv, the original images, their sources, the splits, and what leaks through them."""


localrules:
    download_archive,
    split_dataset,
    audit_leakage,
    subsample_images,


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


rule make_synthetic_archive:
    output:
        "data/drawn.zip",
    log:
        "logs/make_synthetic_archive/drawn.log",
    benchmark:
        "benchmarks/make_synthetic_archive/drawn.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        synthetic=config["synthetic"],
        classes=CLASSES,
        partitions=PARTITIONS if config["dataset"]["partitions"] else ["train", "test"],
    message:
        "Drawing synthetic blood smears"
    script:
        "../scripts/make_synthetic_archive.py"


rule ingest_dataset:
    input:
        archive=ARCHIVE,
        listed=by_content(config["dataset"]["images"]),
        labels=by_content(config["dataset"]["labels"]),
    output:
        images="results/dataset/images.csv",
        rejected="results/dataset/rejected.csv",
        # What was noted the last time is read.
        record=update(RECORD),
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
        state=state_of_archive,
        contents=lambda wildcards: [content_of(config["dataset"][key]) for key in ("images", "labels")],
    message:
        "Ingesting {input.archive}"
    script:
        "../scripts/ingest_dataset.py"


rule find_sources:
    input:
        images=rules.ingest_dataset.output.images,
        manifests=manifests_of("original"),
        archive=ARCHIVE,
        table=by_content(config["sources"]["table"]),
        labels=by_content(config["dataset"]["labels"]),
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
        dataset={
            key: config["dataset"][key] for key in ("photographs", "classes", "partitions", "limits", "links", "range")
        },
        contents=lambda wildcards: [content_of(config["sources"]["table"]), content_of(config["dataset"]["labels"])],
        state=lambda wildcards: state_of_archive(wildcards) if config["dataset"]["photographs"] else None,
    message:
        "Finding the photograph that each image was made from"
    script:
        "../scripts/find_sources.py"


rule split_dataset:
    input:
        images=rules.ingest_dataset.output.images,
        sources=lambda wildcards: (
            rules.find_sources.output.sources if parse_split(wildcards.split)[0] == "by_source" else []
        ),
        custom=lambda wildcards: by_content(config["custom"]) if wildcards.split == "custom" else [],
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
        settings=lambda wildcards: split_settings(wildcards.split),
    message:
        "Splitting the images: {wildcards.split}"
    script:
        "../scripts/split_dataset.py"


rule audit_leakage:
    input:
        images=rules.ingest_dataset.output.images,
        sources=rules.find_sources.output.sources,
        splits=expand(rules.split_dataset.output.split, split=SPLIT_NAMES),
    output:
        leakage="results/splits/leakage.csv",
        provenance="results/splits/leakage.provenance.json",
    log:
        "logs/audit_leakage/leakage.log",
    benchmark:
        "benchmarks/audit_leakage/leakage.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Counting the images whose source was trained on"
    script:
        "../scripts/audit_leakage.py"


rule subsample_images:
    input:
        images=rules.ingest_dataset.output.images,
        sources=rules.find_sources.output.sources,
    output:
        chosen="results/dataset/chosen.csv",
        provenance="results/dataset/chosen.provenance.json",
    log:
        "logs/subsample_images/chosen.log",
    benchmark:
        "benchmarks/subsample_images/chosen.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        per_class=config["subsample"]["per_class"],
    message:
        "Subsampling {params.per_class} images of each class for a small study"
    script:
        "../scripts/subsample_images.py"
