"""Fine-tuning of the super-resolution network on the data set's own photographs, if a variant finetuned_x… is there."""


localrules:
    make_finetuning_figure,


# The network that fine-tuning starts from.
STARTED_FROM = model_for_scale(4, config["weights"]["source"])
FINETUNING = config["finetune"]
# The user's own file of VGG-19's weights, if the perceptual loss is used.
OWN_VGG = config["finetune"]["perceptual_weights"]


rule estimate_degradation:
    input:
        archive=ARCHIVE,
        sources=rules.find_sources.output.sources,
        manifests=rules.ingest_dataset.output.manifests,
    output:
        degradation="results/finetune/degradation.json",
        candidates="results/finetune/degradation.csv",
        provenance="results/finetune/degradation.provenance.json",
    log:
        "logs/estimate_degradation/degradation.log",
    benchmark:
        "benchmarks/estimate_degradation/degradation.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        dataset=PHOTOGRAPHED,
        state=state_of_photographs,
    message:
        "Estimating how the archive made its images from the photographs"
    script:
        "../scripts/estimate_degradation.py"


rule finetune_upscaler:
    input:
        archive=ARCHIVE,
        sources=rules.find_sources.output.sources,
        split=lambda wildcards: f"results/splits/{SPLIT_OF[wildcards.model]}.csv",
        weights=f"{WEIGHTS}.safetensors".format(model=STARTED_FROM),
        degradation=(rules.estimate_degradation.output.degradation if FINETUNING["degradation"] == "matched" else []),
        perceptual=by_content(OWN_VGG),
    output:
        weights=f"{WEIGHTS}.safetensors",
        description=f"{WEIGHTS}.json",
        photographs="results/finetune/{model}/photographs.csv",
        history="results/finetune/{model}/history.csv",
        provenance="results/finetune/{model}/provenance.json",
    log:
        "logs/finetune_upscaler/{model}.log",
    benchmark:
        "benchmarks/finetune_upscaler/{model}.tsv"
    wildcard_constraints:
        model=only(SPLIT_OF),
    priority: 3
    conda:
        "../envs/workflow.yaml"
    threads: 8 * FINETUNING["gpus"]
    resources:
        mem_mb=growing(8000 * FINETUNING["gpus"]),
        runtime=growing(480),
        gpu=FINETUNING["gpus"],
        nodes=1,
    params:
        dataset=PHOTOGRAPHED,
        finetune=FINETUNING,
        state=state_of_photographs,
        split=lambda wildcards: SPLIT_OF[wildcards.model],
        perceptual=lambda wildcards: content_of(OWN_VGG),
    message:
        f"Fine-tuning {STARTED_FROM} on the photographs that the split {{params.split}} uses only for training"
    script:
        "../scripts/finetune_upscaler.py"


rule make_finetuning_figure:
    input:
        histories=expand(rules.finetune_upscaler.output.history, model=SPLIT_OF),
        summaries=expand(rules.finetune_upscaler.output.provenance, model=SPLIT_OF),
    output:
        png=report(
            "results/figures/finetuning.png",
            caption="captions/finetuning.rst",
            category="Figures",
            labels={"figure": "fine-tuning"},
        ),
        svg="results/figures/finetuning.svg",
        provenance="results/figures/finetuning.provenance.json",
    log:
        "logs/make_finetuning_figure/finetuning.log",
    benchmark:
        "benchmarks/make_finetuning_figure/finetuning.tsv"
    conda:
        "../envs/workflow.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    message:
        "Drawing the curves of the fine-tuning"
    script:
        "../scripts/make_finetuning_figure.py"


# Files of a study with a fine-tuned variant; otherwise there are none.
FINETUNING_FIGURE, FINETUNING_PROVENANCES = [], []
if SPLIT_OF:
    FINETUNING_FIGURE = [rules.make_finetuning_figure.output.png, rules.make_finetuning_figure.output.svg]
    FINETUNING_PROVENANCES = expand(rules.finetune_upscaler.output.provenance, model=SPLIT_OF)
