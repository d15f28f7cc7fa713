def set_aside(wildcards):
    """The run folders that `reprise verify --repair` has refused: the table made from them exists, so that without a
    changed parameter Snakemake would see no reason to train them again."""
    cohorts = grid_of(wildcards.tier).cohorts_of(figure_at(wildcards).key)
    refused = {f"results/{wildcards.tier}/refused/{cohort.task}/{cohort.name}/*" for cohort in cohorts}
    return sorted(folder for pattern in refused for folder in glob(pattern))


# The only rule that opens run folders. Its inputs are the manifests, which exist only when a run is complete.
rule collect:
    input:
        lambda wildcards: [manifest(cohort) for cohort in grid_of(wildcards.tier).cohorts_of(figure_at(wildcards).key)],
    output:
        table="results/{tier}/tables/{paper}/{figure}.parquet",
        coverage="results/{tier}/tables/{paper}/{figure}.coverage.json",
    log:
        "results/{tier}/logs/collect/{paper}/{figure}.log",
    params:
        figure=digest_of_figure,
        set_aside=set_aside,
    message:
        "collect {wildcards.paper}/{wildcards.figure}, tier {wildcards.tier}"
    shell:
        "reprise collect {wildcards.paper}/{wildcards.figure} --tier {wildcards.tier} > {log} 2>&1"
