#!/usr/bin/env bash
# Put the published tiers' tables, statistics and figures into published/, which a fresh clone can `dvc pull` from.
# It regenerates first, so that what is published is what the config says, and refuses to grow over the limit.
set -euo pipefail
limit_mb=60 # published/ and the git history together: what everyone who clones downloads

cd "$(dirname "$0")/.."
dvc repro
# The frozen stage of tier paper is not run here: what is at hand is recorded as it is.
if [ -d results/paper/statistics ]; then dvc commit --force dvc/paper/dvc.yaml:paper; fi
dvc push
# Objects of earlier versions, in the cache and in published/, which no dvc.lock names any more.
dvc gc --workspace --cloud --force
dvc status --cloud

published_kb=$(du -sk published | cut -f1)
history_kb=$(du -sk "$(git rev-parse --git-dir)" | cut -f1)
total_mb=$(((published_kb + history_kb + 1023) / 1024))
echo "published/ ${published_kb} KiB, git history ${history_kb} KiB: ${total_mb} MiB of ${limit_mb}"
if ((total_mb > limit_mb)); then
    echo "publish: over the limit; publish fewer or smaller figures" >&2
    exit 1
fi
echo "next: git add dvc.lock dvc results published && git commit"
