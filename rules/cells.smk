"""Square crops around the white cells, if view.around is cell; otherwise there is no job."""

# Empty if the view is the whole image.
CELLS = {}

if AROUND_CELL:

    localrules:
        make_cells_figure,

    rule cut_cells:
        input:
            images=rules.ingest_dataset.output.images,
            sources=rules.find_sources.output.sources,
            rejected=rules.ingest_dataset.output.rejected,
            whole=rules.ingest_dataset.output.manifests,
        output:
            images=IMAGES,
            sources=SOURCES,
            rejected=REJECTED,
            cells="results/dataset/cells.csv",
            cuts=manifests_of("original"),
            # Jobs that read the sources expect their hash in a file of this name.
            provenance=provenance_beside([SOURCES])[0],
        log:
            "logs/cut_cells/cells.log",
        benchmark:
            "benchmarks/cut_cells/cells.tsv"
        conda:
            "../envs/workflow.yaml"
        threads: 4
        resources:
            mem_mb=growing(2000),
            runtime=growing(30),
        params:
            side=config["view"]["side"],
            reduce_to=config["view"]["reduce_to"],
            keep_border_cells=config["view"]["border_cells"] == "keep",
            # A patient or slide may have cells of several classes, but a photograph shows one cell.
            one_cell=config["sources"]["method"] in ("auto", "photographs", "images"),
        message:
            "Cropping a square around the white cell of each image"
        script:
            "../scripts/cut_cells.py"

    rule make_cells_figure:
        input:
            cells=rules.cut_cells.output.cells,
            sources=rules.cut_cells.output.sources,
            cuts=rules.cut_cells.output.cuts,
        output:
            png=report(
                "results/figures/cells.png",
                caption="captions/cells.rst",
                category="Figures",
                labels={"figure": "cells"},
            ),
            svg="results/figures/cells.svg",
            provenance="results/figures/cells.provenance.json",
        log:
            "logs/make_cells_figure/cells.log",
        benchmark:
            "benchmarks/make_cells_figure/cells.tsv"
        conda:
            "../envs/workflow.yaml"
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            classes=CLASSES,
        message:
            "Drawing the figure of the cells"
        script:
            "../scripts/make_cells_figure.py"

    CELLS = {
        "dataset": rules.cut_cells.output,
        "figure": rules.make_cells_figure.output,
        "provenance": [rules.cut_cells.output.provenance],
    }
