"""A small configuration on disk for tests: `write(tmp_path)`, then `edit` one file to plant a fault."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "config.yaml": "tier: quick\npapers: [demo]\ndevice: auto\n",
    "environments/grid_world.yaml": """
environment: grid_world
version: 1
module: reprise.environments.grid_world.GridWorld
actions: discrete
parameters:
  states: {value: 10, kind: count, source: ours}
  slip: {value: 0, kind: fraction, source: ours}
tasks:
  small: {description: small, parameters: {states: {value: 4, source: ours}}}
  large: {description: large}
""",
    "environments/arm.yaml": """
environment: arm
version: 1
module: reprise.environments.arm.Arm
actions: continuous
parameters: {}
tasks:
  reach: {description: reach}
""",
    "algorithms/alpha.yaml": """
algorithm: alpha
version: 1
module: reprise.algorithms.alpha.Alpha
title: Alpha
actions: [discrete, continuous]
color: "#123456"
sweepable: [target, speed]
hyperparameters:
  target: {value: 0.1, kind: positive, source: "paper, table 1"}
  speed: {value: 1, kind: positive, source: ours}
  epochs: {value: 15, kind: count, source: "paper, table 1"}
  root: {value: true, kind: switch, source: paper}
  rule: {value: exact, kind: choice, choices: [exact, sampled], source: ours}
environments:
  grid_world: {target: {value: 0.2, source: ours}}
tasks:
  grid_world/large: {target: {value: 0.3, source: ours}}
variants:
  no_root: {label: Alpha without root, description: d, set: {root: {value: false, source: ours}}}
  slow:
    label: Slow Alpha
    description: d
    set: {speed: {value: 0.5, source: ours}}
    environments: {grid_world: {speed: {value: 0.25, source: ours}}}
sweeps:
  targets:
    label: target
    settings:
      target0.1: {label: "0.1", set: {target: {value: 0.1, source: ours}}}
      target0.2: {label: "0.2", set: {target: {value: 0.2, source: ours}}}
      target1: {label: "1", set: {target: {value: 1, source: ours}}}
""",
    "algorithms/beta.yaml": """
algorithm: beta
version: 2
module: reprise.algorithms.beta.Beta
title: Beta
actions: [discrete]
color: "#654321"
hyperparameters:
  clip: {value: 0.2, kind: fraction, source: paper}
variants:
  kl: {label: Beta-KL, description: d, alias: alpha@no_root, color: "#00ff00"}
""",
    "algorithms/glide.yaml": """
algorithm: glide
version: 1
module: reprise.algorithms.glide.Glide
title: Glide
actions: [continuous]
color: "#abcdef"
hyperparameters: {}
""",
    "tiers/smoke.yaml": """
tier: smoke
stamp: smoke only
batches: 2
environments:
  grid_world: {updates: 2, seeds: 0-1, evaluations: 1, evaluation_episodes: 2}
""",
    "tiers/quick.yaml": """
tier: quick
stamp: null
batches: null
environments:
  grid_world: {env_steps: 1000, seeds: 0-2, evaluations: 5, evaluation_episodes: 2}
tasks:
  grid_world/large: {env_steps: 5000, seeds: "0,3"}
figures:
  demo/fig02: {seeds: 1-4, stamp: fewer seeds}
""",
    "papers/demo.yaml": """
paper: demo
title: Demo
reference: none
figures:
  fig01:
    title: t
    caption: c
    kind: curves
    tasks: [grid_world/small, grid_world/large]
    curves: [{algorithm: alpha}, {algorithm: beta}, {algorithm: beta@kl}]
    metric: return
    tiers: {smoke: {tasks: [grid_world/small]}}
  fig02:
    title: t
    caption: c
    kind: curves
    tasks: [grid_world/small]
    curves: [{algorithm: alpha@targets}]
    metric: return
  fig03:
    title: t
    caption: c
    kind: curves
    tasks: [grid_world/small]
    curves: [{algorithm: alpha@no_root}, {algorithm: alpha@targets, label: A}]
    metric: return
""",
}


def write(root: Path) -> Path:
    """The tree below ``root``; returns ``root``."""
    for name, text in FILES.items():
        path = root / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def edit(root: Path, name: str, old: str, new: str) -> None:
    """Replace ``old`` (which must be there) by ``new`` in config/``name``."""
    path = root / "config" / name
    text = path.read_text()
    assert old in text, f"{name} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


def complete(root: Path, tier: str, task: str, name: str, first: int, last: int) -> Path:
    """A run folder that looks complete: one with a manifest."""
    folder = root / "results" / tier / "runs" / task / name / f"seeds-{first}-{last}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text("{}")
    return folder
