rule write_report:
    input:
        claims="results/{tier}/claims.json",
        statistics=lambda wildcards: statistics_files(wildcards.tier),
        figures=lambda wildcards: figure_files(wildcards.tier),
        replays=lambda wildcards: replay_files(wildcards.tier),
        papers=[f"config/papers/{name}.yaml" for name in PROJECT.papers],
    output:
        report(
            "results/{tier}/report.html",
            caption="../report/report.rst",
            category="Verdicts",
            labels={"tier": "{tier}"},
        ),
    log:
        "results/{tier}/logs/report.log",
    message:
        "write results/{wildcards.tier}/report.html"
    shell:
        "reprise report --tier {wildcards.tier} > {log} 2>&1"


rule report:
    input:
        lambda wildcards: f"results/{TIER}/report.html",
