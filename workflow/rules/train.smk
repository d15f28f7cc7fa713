# One job trains one cohort. No file inputs: a pulled table, a touched source or a new clone never retrains anything;
# what a cohort depends on is its hash (params), and `reprise collect` refuses a run whose hash is not the expected one.
rule train:
    wildcard_constraints:
        environment="(?!theory/)[^/]+",
    output:
        [f"{RUN}/{name}" for name in grids.FILES],
    log:
        "results/{tier}/logs/train/{environment}/{task}/{cell}/seeds-{first}-{last}.log",
    benchmark:
        "results/{tier}/benchmarks/train/{environment}/{task}/{cell}/seeds-{first}-{last}.tsv"
    # The longest first, so that the last core is not left alone with it.
    priority: lambda wildcards: min(work(cohort_at(wildcards)) // 1000, 1_000_000)
    group:
        lambda wildcards: "short_cohorts" if env_steps(cohort_at(wildcards)) < SHORT_ENV_STEPS else None
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=lambda wildcards, attempt: (plan.memory_mb(cohort_at(wildcards)) + GPU_HOST_MB * GPU) * attempt,
        runtime=lambda wildcards: RUNTIME_MINUTES.get(wildcards.environment, 720),
    params:
        hash=lambda wildcards: cohort_at(wildcards).hash,
    message:
        "train {wildcards.environment}/{wildcards.task} {wildcards.cell} seeds {wildcards.first}-{wildcards.last}, tier {wildcards.tier}"
    shell:
        "reprise train --task {wildcards.environment}/{wildcards.task} --algorithm {wildcards.cell}"
        " --seeds {wildcards.first}-{wildcards.last} --tier {wildcards.tier} --device {DEVICE} 2>&1 | tee {log}"


# An exact study: the same command, other files, always on the processor.
use rule train as study with:
    wildcard_constraints:
        environment="theory",
    output:
        [f"{RUN}/{name}" for name in grids.STUDY_FILES],
    resources:
        gpu=0,
        mem_mb=lambda wildcards: plan.memory_mb(cohort_at(wildcards)),
        runtime=RUNTIME_MINUTES["theory"],
    message:
        "compute {wildcards.environment}/{wildcards.task}, tier {wildcards.tier}"


# A tier of very short cohorts declares `batches`: so many processes train all of them, because starting one costs seconds.
for number, share in enumerate(BATCHES, start=1):

    rule:
        name:
            f"train_batch_{number}"
        output:
            [manifest(cohort) for cohort in share],
        log:
            f"results/{TIER}/logs/train/batch-{number}.log",
        benchmark:
            f"results/{TIER}/benchmarks/train/batch-{number}.tsv"
        threads: 1
        resources:
            gpu=GPU,
            mem_mb=max(plan.memory_mb(cohort) for cohort in share) + GPU_HOST_MB * GPU,
            runtime=60,
        params:
            cells=f"results/{TIER}/cells/{number}.txt",
            lines=[f"{c.task} {c.name} {c.seeds[0]}-{c.seeds[-1]} {c.tier}" for c in share],
            hashes=[cohort.hash for cohort in share],
        message:
            f"train {len(share)} short cohorts of tier {TIER} in one process ({number} of {len(BATCHES)})"
        shell:
            "mkdir -p $(dirname {params.cells}) && printf '%s\\n' {params.lines:q} > {params.cells}"
            " && reprise train --cells {params.cells} --device {DEVICE} 2>&1 | tee {log}"
