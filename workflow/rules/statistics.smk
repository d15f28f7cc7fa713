rule statistics:
    input:
        rules.collect.output,
    output:
        json="results/{tier}/statistics/{paper}/{figure}.json",
        csv="results/{tier}/statistics/{paper}/{figure}.csv",
    log:
        "results/{tier}/logs/statistics/{paper}/{figure}.log",
    params:
        figure=digest_of_figure,
    message:
        "statistics of {wildcards.paper}/{wildcards.figure}, tier {wildcards.tier}"
    shell:
        "reprise statistics {wildcards.paper}/{wildcards.figure} --tier {wildcards.tier} > {log} 2>&1"
