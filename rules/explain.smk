"""Cells whose label changes between the original and the super-resolved images, and Grad-CAM maps of both networks."""

# Empty without an upscaled variant: there is then no rule and no section of the report.
CHANGES = {}
COMPARED = compared_variant(config["variants"])

if COMPARED:
    # For a split with folds, this is the first fold.
    FIRST = {"split": config["evaluation"]["primary"]["split"], "seed": config["seeds"][0]}
    EXPLAINED = ["original", COMPARED]

    rule explain_changes:
        input:
            models=[
                path
                for name in EXPLAINED
                for path in expand(rules.train_classifier.output.model, training=name, **FIRST)
            ],
            arrays=[packed(name, name, FIRST["split"])["array"] for name in EXPLAINED],
            indexes=[packed(name, name, FIRST["split"])["index"] for name in EXPLAINED],
            original=expand(
                rules.predict.output.predictions,
                training="original",
                variant="original",
                split=FIRST["split"],
                seed=config["seeds"],
            ),
            enhanced=expand(
                rules.predict.output.predictions,
                training=COMPARED,
                variant=COMPARED,
                split=FIRST["split"],
                seed=config["seeds"],
            ),
            split=expand(rules.split_dataset.output.split, split=FIRST["split"]),
            images=IMAGES,
            sources=SOURCES,
        output:
            changes="results/changes/changes.csv",
            counts="results/changes/counts.csv",
            png=[
                report(
                    f"results/figures/{changes_figure(kind)}.png",
                    caption=f"captions/{changes_figure(kind)}.rst",
                    category="Figures",
                    labels={"figure": changes_figure(kind)},
                )
                for kind in DRAWN
            ],
            svg=[f"results/figures/{changes_figure(kind)}.svg" for kind in DRAWN],
            provenance="results/changes/provenance.json",
        log:
            "logs/explain_changes/changes.log",
        benchmark:
            "benchmarks/explain_changes/changes.tsv"
        conda:
            "../envs/workflow.yaml"
        threads: 4
        resources:
            mem_mb=growing(4000),
            runtime=growing(30),
        params:
            classes=CLASSES,
            variants=EXPLAINED,
            seeds=config["seeds"],
            images=config["explain"]["images"],
        message:
            "Explaining the cells whose label changes"
        script:
            "../scripts/explain_changes.py"

    CHANGES = {
        "changes": [rules.explain_changes.output.changes, rules.explain_changes.output.counts],
        "figures": [*rules.explain_changes.output.png, *rules.explain_changes.output.svg],
        "provenance": [rules.explain_changes.output.provenance],
    }
