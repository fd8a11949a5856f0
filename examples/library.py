"""Tumbler as a library: `python examples/library.py`."""

from orchestrator.domain.audit import audit
from orchestrator.domain.spec import RunSpec
from trainers.main import train

spec = RunSpec(task="language_model", workers="1:2", train={"steps": 30, "global_batch": 16})
result = train(spec, num_cpus=2)
print(f"{result.run.path}: perplexity {result.metrics['val_perplexity']:.1f}")
print(f"parameters {result.parameters_sha256}, audit {'ok' if audit(result.run).ok else 'failed'}")
