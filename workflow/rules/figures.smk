rule plot:
    input:
        rules.statistics.output,
    output:
        report(
            "figures/{tier}/{paper}/{figure}.svg",
            caption="../report/figure.rst",
            category="{paper}",
            labels={"figure": "{figure}", "tier": "{tier}"},
        ),
        multiext("figures/{tier}/{paper}/{figure}", ".png", ".pdf", ".json"),
    log:
        "results/{tier}/logs/plot/{paper}/{figure}.log",
    params:
        title=lambda wildcards: figure_at(wildcards).spec.title,
        caption=lambda wildcards: figure_at(wildcards).spec.caption,
        figure=digest_of_figure,
    message:
        "draw {wildcards.paper}/{wildcards.figure}, tier {wildcards.tier}"
    shell:
        "reprise plot {wildcards.paper}/{wildcards.figure} --tier {wildcards.tier} > {log} 2>&1"


# `snakemake dpo`: the figures of one paper.
for paper in PROJECT.papers:

    rule:
        name:
            paper
        input:
            lambda wildcards, paper=paper: figure_files(TIER, {paper}),
