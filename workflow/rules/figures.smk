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


# One episode per task that the papers name, before and after training: the only other rule that opens run folders.
rule replay:
    input:
        lambda wildcards: manifest(replay_at(wildcards).cohort),
    output:
        strip=report(
            "figures/{tier}/{paper}/replays/{environment}/{task}.png",
            caption="../report/replay.rst",
            category="{paper}",
            labels={"figure": "replay of {environment}/{task}", "tier": "{tier}"},
        ),
        numbers="figures/{tier}/{paper}/replays/{environment}/{task}.json",
    log:
        "results/{tier}/logs/replay/{paper}/{environment}/{task}.log",
    params:
        run=lambda wildcards: relative(replay_at(wildcards).cohort.folder),
        which=lambda wildcards: replay_at(wildcards).options,
    message:
        "replay {wildcards.environment}/{wildcards.task} of {wildcards.paper}, tier {wildcards.tier}"
    shell:
        "reprise replay {params.run} {params.which} --output {output.strip} --device cpu > {log} 2>&1"


# `snakemake dpo`: the figures of one paper.
for paper in PROJECT.papers:

    rule:
        name:
            paper
        input:
            lambda wildcards, paper=paper: figure_files(TIER, {paper}),
