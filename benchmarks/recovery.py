"""Benchmark `recovery`: one of two workers gets a SIGKILL. How long until the next step, and at what cost?"""

import tempfile
from typing import Any

from benchmarks.drill import Launch, Plan, recover
from benchmarks.peers.lineup import PEERS, launch_of
from benchmarks.report import Report, percentile

WORKLOAD = "benchmarks.language_model:gpt_nano"
NUM_KILLS_OF_PEERS = 3


def run(*, quick: bool = False) -> Report:
    with tempfile.TemporaryDirectory() as storage:
        peers = {
            peer: measure(launch_of(peer), storage, 1 if quick else NUM_KILLS_OF_PEERS) for peer in PEERS
        }
    return Report("recovery", results={}, peers=peers, bars=())


def measure(launch: Launch, storage: str, num_kills: int) -> dict[str, Any]:
    """What `num_kills` kills cost a contender, each in a run of its own and at a phase of its own."""
    kills = []
    for seed in range(1, num_kills + 1):
        with tempfile.TemporaryDirectory() as folder:
            kills.append(recover(launch, Plan(WORKLOAD, folder, storage, seed=seed)))
    to_next_step = [kill.kill_to_next_step_s for kill in kills]
    return {
        "num_kills": num_kills,
        "kill_to_next_step_p50_s": percentile(to_next_step, 50),
        "kill_to_next_step_max_s": max(to_next_step),
        "kill_to_full_strength_p50_s": percentile([kill.kill_to_full_strength_s for kill in kills], 50),
        "steps_repeated_max": max(kill.steps_repeated for kill in kills),
    }
