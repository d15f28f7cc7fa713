# A declared hyper-parameter search, its own target and part of no tier: `snakemake --cores all results/tuning/NAME.csv`.
# No inputs: a published table is the record of a search that was made, and nothing starts another by itself.
rule tune:
    output:
        table="results/tuning/{search}.csv",
        choice="results/tuning/{search}.json",
    log:
        "results/tuning/logs/{search}.log",
    threads: workflow.cores or 1
    resources:
        gpu=GPU,
        mem_mb=lambda wildcards, threads: 3000 * threads,
        runtime=720,
    message:
        "search {wildcards.search} (config/tuning/{wildcards.search}.yaml)"
    shell:
        "reprise tune {wildcards.search} --device {DEVICE} --jobs {threads} 2>&1 | tee {log}"
