# The card: the workflow itself is workflow/Snakefile. An include alone has no default target, hence the rule.
include: "workflow/Snakefile"


rule everything:
    default_target: True
    input:
        everything_chosen,
