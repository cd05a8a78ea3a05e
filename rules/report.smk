"""Tables, figures and the report: made where Snakemake itself runs, within seconds."""


localrules:
    make_tables,
    make_figures,
    make_report,


TABLES = [
    *("comparison", "differences", "recalls", "endpoints", "correlation", "calibration", "cost", "controls"),
    "misclassified",
    *(f"table{number}" for number in range(2, 7)),
]
PLAN = {
    "classes": CLASSES,
    "variants": config["variants"],
    "splits": config["splits"],
    "seeds": config["seeds"],
    "partitions": partitions_of(config["dataset"]),
    "trainings": TRAINING,
    "synthetic": is_synthetic(config),
    "evaluation": config["evaluation"],
}
SPLITS = expand(rules.split_dataset.output.split, split=SPLIT_NAMES)
RUNS = {"split": SPLIT_NAMES, "seed": config["seeds"]}
# The run of each of the histories and predictions below; tables and figures do not derive it from paths.
TRAINED = [
    {"split": split, "trained_on": training, "seed": seed}
    for training in TRAINING
    for split in SPLIT_NAMES
    for seed in config["seeds"]
]
TESTED_ON = [run | {"tested_on": variant} for run in TRAINED for variant in TESTED[run["trained_on"]]]
HISTORIES = [file for run in TRAINED for file in files_of(rules.train_classifier.output.history, run)]
PREDICTIONS = [file for run in TESTED_ON for file in files_of(rules.predict.output.predictions, run)]
UPSCALED = [path for variant in CONFIGURED if variant != "original" for path in manifests_of(variant)]
ENGINES = [
    *expand(rules.compile_upscaler.output.engine, model=sorted(set(MODELS.values()))),
    *expand(rules.compile_classifier.output.engine, training=TRAINING, **RUNS),
]
PACKED_IMAGES = sorted(
    {file for run in TESTED_ON for file in packed(run["tested_on"], run["trained_on"], run["split"]).values()}
)
QUALITIES = [path.replace("engine.json", "quality.json") for path in ENGINES]
MANIFESTS = [*manifests_of("original"), *UPSCALED]
PROVENANCES = [
    rules.ingest_dataset.output.provenance,
    *CELLS.get("provenance", []),
    *provenance_beside([*SPLITS, *UPSCALED, *PREDICTIONS]),
    *provenance_beside(file for file in PACKED_IMAGES if file.endswith(".npy")),
    *expand(rules.match_sharpening.output.provenance, variant=SHARPENED),
    *expand(rules.train_classifier.output.provenance, training=TRAINING, **RUNS),
    *FINETUNING_PROVENANCES,
    *[path.replace("engine.json", "provenance.json") for path in ENGINES],
]
# All files between the data set and the tables that are not targets by name.
INTERMEDIATE = [
    *expand(rules.fetch_weights.output, model=NETWORK_MODELS),
    initial_weights(),
    *expand(rules.match_sharpening.output.sharpening, variant=SHARPENED),
    *(rules.measure_fidelity.output if MEASURES_FIDELITY else []),
    *PACKED_IMAGES,
    *ENGINES,
    *QUALITIES,
    *PREDICTIONS,
    *PROVENANCES,
    *provenance_beside(QUALITIES),
]
# Benchmarks that the report shows, if configured.
BENCHMARKS = [
    file
    for name in ("upscaling", "batches", "training", "packing", "scaling", "classifying", "workflow")
    for file in (measurements(name)[kind] for kind in ("csv", "svg", "provenance"))
    if config["benchmark"]["in_report"]
]


rule make_tables:
    input:
        images=IMAGES,
        splits=SPLITS,
        sources=SOURCES,
        leakage=rules.audit_leakage.output.leakage,
        predictions=PREDICTIONS,
        # ancient: a changed threshold must be passed, but does not change results.
        provenances=[*PROVENANCES, *ancient(provenance_beside(QUALITIES))],
    output:
        csv=[
            report(
                f"results/tables/{table}.csv",
                caption=f"captions/{table}.rst",
                category="Tables",
                labels={"table": table},
            )
            for table in TABLES
        ],
        texts=expand("results/tables/{table}.{suffix}", table=TABLES, suffix=["md", "tex"]),
        provenance="results/tables/provenance.json",
    log:
        "logs/make_tables/tables.log",
    benchmark:
        "benchmarks/make_tables/tables.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        plan=PLAN,
        tested=TESTED_ON,
    message:
        "Making the tables"
    script:
        "../scripts/make_tables.py"


rule make_figures:
    input:
        splits=SPLITS,
        sources=SOURCES,
        predictions=PREDICTIONS,
        differences="results/tables/differences.csv",
        histories=HISTORIES,
        manifests=MANIFESTS,
    output:
        png=[
            report(
                f"results/figures/{figure}.png",
                caption=f"captions/{caption_of(figure)}.rst",
                category="Confusion matrices" if figure.startswith("confusion") else "Figures",
                labels={"figure": figure},
            )
            for figure in figure_names(config)
        ],
        svg=expand("results/figures/{figure}.svg", figure=figure_names(config)),
        provenance="results/figures/provenance.json",
    log:
        "logs/make_figures/figures.log",
    benchmark:
        "benchmarks/make_figures/figures.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        plan=PLAN,
        tested=TESTED_ON,
        trained=TRAINED,
    message:
        "Drawing the figures"
    script:
        "../scripts/make_figures.py"


rule make_report:
    input:
        tables=rules.make_tables.output.csv,
        figures=[
            *rules.make_figures.output.png,
            *rules.make_figures.output.svg,
            *CHANGES.get("figures", []),
            *FINETUNING_FIGURE,
        ],
        fidelity=FIDELITY,
        changes=CHANGES.get("changes", []),
        benchmark=BENCHMARKS,
        provenances=[
            *PROVENANCES,
            *CHANGES.get("provenance", []),
            *FIDELITY_PROVENANCES,
            *provenance_beside(QUALITIES),
        ],
        weights=expand(rules.fetch_weights.output.description, model=sorted(set(MODELS.values()))),
        rejected=REJECTED,
        leakage=rules.audit_leakage.output.leakage,
        manifests=MANIFESTS,
    output:
        page=report(
            "results/report/index.html",
            caption="captions/page.rst",
            category="Answer",
            labels={"page": "the whole answer"},
        ),
    log:
        "logs/make_report/report.log",
    benchmark:
        "benchmarks/make_report/report.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        config=config,
    message:
        "Writing the report"
    script:
        "../scripts/make_report.py"
