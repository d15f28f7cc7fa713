rule judge:
    input:
        statistics=lambda wildcards: statistics_files(wildcards.tier),
        claims=sorted(glob("config/claims/*.yaml")),
    output:
        claims="results/{tier}/claims.json",
        metrics=report(
            "results/{tier}/metrics.json",
            caption="../report/verdicts.rst",
            category="Verdicts",
            labels={"tier": "{tier}"},
        ),
    log:
        "results/{tier}/logs/claims.log",
    message:
        "judge the claims, tier {wildcards.tier}"
    shell:
        "reprise claims --tier {wildcards.tier} > {log} 2>&1"


rule claims:
    input:
        lambda wildcards: f"results/{TIER}/claims.json",
