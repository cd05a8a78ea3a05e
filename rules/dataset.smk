"""From the archive to images.csv, the original images, their sources, the splits, and the leakage between subsets."""


localrules:
    download_archive,
    split_dataset,
    audit_leakage,
    subsample_images,


rule download_archive:
    output:
        # update: the job keeps an archive that was put there by hand; it runs if the file is older than the script.
        update("data/archive.zip"),
    log:
        "logs/download_archive/archive.log",
    conda:
        "../envs/download.yaml"
    params:
        **{key: config["dataset"][key] for key in ["git" if config["dataset"]["git"] else "kaggle"]},
    message:
        f"Downloading {config['dataset']['git']['url'] if config['dataset']['git'] else config['dataset']['kaggle']}"
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
        labels=by_content(LABELS),
    output:
        images=f"{WHOLE}/images.csv",
        rejected=f"{WHOLE}/rejected.csv",
        # update: the job reads the record of the last run.
        record=update(RECORD),
        manifests=expand(WHOLE_MANIFEST, partition=PARTITIONS, class_name=CLASSES),
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
        contents=lambda wildcards: [content_of(config["dataset"]["images"]), content_of(LABELS)],
    message:
        "Ingesting {input.archive}"
    script:
        "../scripts/ingest_dataset.py"


# The keys of the section dataset that are needed to read the photographs, and to find and check sources.
PHOTOGRAPHED = {
    key: config["dataset"][key]
    for key in ("photographs", "classes", "members", "partitions", "limits", "links", "range", "first_page")
}


rule find_sources:
    input:
        images=rules.ingest_dataset.output.images,
        manifests=rules.ingest_dataset.output.manifests,
        archive=ARCHIVE,
        table=by_content(config["sources"]["table"]),
        labels=by_content(LABELS),
    output:
        sources=f"{WHOLE}/sources.csv",
        provenance=f"{WHOLE}/sources.provenance.json",
    log:
        "logs/find_sources/sources.log",
    benchmark:
        "benchmarks/find_sources/sources.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: 8
    resources:
        # The method images keeps the features of all images in memory.
        mem_mb=growing(2000 if config["sources"]["method"] != "images" else 8000),
        runtime=growing(60),
    params:
        sources=config["sources"],
        dataset={**PHOTOGRAPHED, "labels": config["dataset"]["labels"]},
        contents=lambda wildcards: [content_of(config["sources"]["table"]), content_of(LABELS)],
        state=state_of_photographs,
    message:
        "Finding the photograph that each image was made from"
    script:
        "../scripts/find_sources.py"


rule check_making:
    input:
        images=rules.ingest_dataset.output.images,
        sources=rules.find_sources.output.sources,
        archive=ARCHIVE,
    output:
        making="results/dataset/making.csv",
        provenance="results/dataset/making.provenance.json",
    log:
        "logs/check_making/making.log",
    benchmark:
        "benchmarks/check_making/making.tsv"
    conda:
        "../envs/workflow.yaml"
    threads: 4
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        dataset=PHOTOGRAPHED,
        state=state_of_photographs,
    message:
        "Comparing the sources with the published method of making the images"
    script:
        "../scripts/check_making.py"


rule split_dataset:
    input:
        images=IMAGES,
        sources=lambda wildcards: SOURCES if parse_split(wildcards.split)[0] == "by_source" else [],
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
        images=IMAGES,
        sources=SOURCES,
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
        "Counting the images whose source was used for training"
    script:
        "../scripts/audit_leakage.py"


rule subsample_images:
    input:
        images=IMAGES,
        sources=SOURCES,
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
        **config["subsample"],
        extra_tests=list(extra_tests_of(partitions_of(config["dataset"])).values()),
    message:
        "Subsampling the images for a small study"
    script:
        "../scripts/subsample_images.py"
