"""The commented run spec that `tumbler init` writes."""

from trainers.task_registry import BUILTIN_TASKS

_HEAD = """\
# A run spec of Tumbler. Every field but `task` may be left out.
#   tumbler validate -f {file}
#   tumbler run -f {file}
version: 1
# name: my-first-run               # left out: one is made up, such as brave-otter-7f3a
task: {task}
"""

_LANGUAGE_MODEL = """\
model:
  preset: gpt-nano                 # gpt-nano, gpt-micro, gpt-mini or gpt2; or set layers, heads, width ...
"""

_OWN_TASK = """\
model: {}                          # checked against the Config of your task
"""

_REST = """\

workers: {min: 1, max: 2}          # trains with any number in between; the result has the same bits
resources: {cpu: 1, threads: 1}    # per worker

data:
  source: dataset://stdlib         # or a path, a glob, a folder of text files
  shuffle: {seed: 17}
  validation_fraction: 0.05

train:
  steps: 500                       # or epochs: 1
  global_batch: 16                 # rows in one step, over all workers
  seed: 1
  optimizer: {name: adamw, lr: 3.0e-3}
  schedule: {name: cosine, warmup_steps: 20}
  clip_grad_norm: 1.0
  evaluate_every: 250              # steps
# from_checkpoint: brave-otter-7f3a@best   # begin with the parameters of another run

checkpoint:
  storage: file://./runs           # the run directory is made in here
  every: 100 steps
  keep_last: 3
# keep_best: {metric: val_loss}    # besides the last ones
# location: s3://bucket/prefix     # left out: in the run directory

retry:
  max_failures: 3                  # errors of your own code; lost workers and nodes are not counted
"""


def spec_template(task: str, file: str) -> str:
    """A valid spec for a built-in task or `module:TaskClass`; `file` is only what its comments call it."""
    model = _LANGUAGE_MODEL if task in BUILTIN_TASKS else _OWN_TASK
    return _HEAD.format(task=task, file=file) + model + _REST
