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
    message:
        "collect {wildcards.paper}/{wildcards.figure}, tier {wildcards.tier}"
    shell:
        "reprise collect {wildcards.paper}/{wildcards.figure} --tier {wildcards.tier} > {log} 2>&1"
