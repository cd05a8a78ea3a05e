"""Fidelity of upscaled photographs, if the archive has photographs; otherwise there are no jobs."""


localrules:
    make_fidelity_table,
    make_fidelity_figure,


# The user's own file of LPIPS's weights, if one is used.
OWN_LPIPS = config["fidelity"]["lpips_weights"] if config["fidelity"]["lpips"] else None


# The file of LPIPS's weights, if LPIPS is measured.
LPIPS_WEIGHTS = (
    (by_content(OWN_LPIPS) or rules.fetch_lpips_weights.output.weights) if config["fidelity"]["lpips"] else []
)


rule measure_fidelity:
    input:
        archive=ARCHIVE,
        weights=expand(f"{WEIGHTS}.safetensors", model=NETWORK_MODELS),
        engines=expand(f"{ENGINE}/engine.json", model=NETWORK_MODELS),
        # ancient: a changed threshold must be passed, but does not change images.
        qualities=ancient(expand(f"{ENGINE}/quality.json", model=NETWORK_MODELS)),
        lpips=LPIPS_WEIGHTS,
        # Photographs that each fine-tuned network has seen, and the source of each photograph.
        seen=expand(
            rules.finetune_upscaler.output.photographs, model=[name for name in NETWORK_MODELS if name in SPLIT_OF]
        ),
        sources=rules.find_sources.output.sources if SPLIT_OF else [],
    output:
        table="results/fidelity/fidelity.csv",
        crops="results/fidelity/crops.npz",
        provenance="results/fidelity/provenance.json",
    log:
        "logs/measure_fidelity/fidelity.log",
    benchmark:
        "benchmarks/measure_fidelity/fidelity.tsv"
    conda:
        NETWORKS
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=growing(120),
        gpu=1,
    params:
        **{key: config["inference"][key] for key in ("tile", "overlap")},
        networks=[NETWORKS_OF[model] for model in NETWORK_MODELS],
        dataset=PHOTOGRAPHED,
        state=state_of_archive,
        per_class=config["fidelity"]["per_class"],
        side=config["view"]["side"] if AROUND_CELL else None,
        lpips=content_of(OWN_LPIPS),
    message:
        "Measuring the fidelity of upscaled photographs"
    script:
        "../scripts/measure_fidelity.py"


rule make_fidelity_table:
    input:
        measurements=rules.measure_fidelity.output.table,
    output:
        csv=report(
            "results/tables/fidelity.csv",
            caption="captions/fidelity.rst",
            category="Tables",
            labels={"table": "fidelity"},
        ),
        texts=expand("results/tables/fidelity.{suffix}", suffix=["md", "tex"]),
        provenance="results/tables/fidelity.provenance.json",
    log:
        "logs/make_fidelity_table/fidelity.log",
    benchmark:
        "benchmarks/make_fidelity_table/fidelity.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        classes=CLASSES,
    message:
        "Making the table of fidelity"
    script:
        "../scripts/make_fidelity_table.py"


rule make_fidelity_figure:
    input:
        crops=rules.measure_fidelity.output.crops,
    output:
        png=report(
            "results/figures/fidelity.png",
            caption="captions/fidelity_figure.rst",
            category="Figures",
            labels={"figure": "fidelity"},
        ),
        svg="results/figures/fidelity.svg",
        provenance="results/figures/fidelity.provenance.json",
    log:
        "logs/make_fidelity_figure/fidelity.log",
    benchmark:
        "benchmarks/make_fidelity_figure/fidelity.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    message:
        "Drawing the figure of fidelity"
    script:
        "../scripts/make_fidelity_figure.py"


# Input of the report; empty if fidelity is not measured.
FIDELITY, FIDELITY_PROVENANCES = [], []
if MEASURES_FIDELITY:
    FIDELITY = [rules.make_fidelity_table.output.csv, rules.make_fidelity_figure.output.png]
    FIDELITY_PROVENANCES = [rules.measure_fidelity.output.provenance]
