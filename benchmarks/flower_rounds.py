"""One case of `learning.py` in Flower's simulation engine (Ray), run with the Python of Flower's own environment.

Reads a folder of .npy files with the samples of all satellites and the first weights, trains, and prints one line of
JSON. Clients keep nothing between rounds, as Flower's simulation has it; what never changes they read from the files.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from lenet import lenet
from torch import Tensor, nn

WORKERS = 2


def model_of(case: str, width: int) -> nn.Module:
    """LeNet, or a linear head on features."""
    return lenet() if case == "lenet" else nn.Sequential(nn.Linear(width, 10))


def loaded(folder: str, name: str) -> np.ndarray:
    """One array of the case, mapped into memory, so that a client reads its own part alone."""
    return np.load(f"{folder}/{name}.npy", mmap_mode="r")


def cpu_s() -> float:
    """CPU seconds of this process and all that Ray started."""
    me = psutil.Process()
    return float(sum(sum(process.cpu_times()[:4]) for process in (me, *me.children(recursive=True))))


def main(case: str, folder: str, batch_size: int, rate: float, rounds: int) -> None:
    """Train and print times of rounds and the final accuracy."""
    began_s = time.perf_counter()
    tests, answers = torch.tensor(loaded(folder, "test_inputs")), torch.tensor(loaded(folder, "test_labels"))
    num_satellites = len(loaded(folder, "inputs"))
    round_s: list[float] = []
    accuracy: list[float] = []
    spent_s: list[float] = []
    client_app, server_app = ClientApp(), ServerApp()

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        satellite = int(context.node_config["partition-id"])
        inputs, labels = (torch.tensor(loaded(folder, name)[satellite]) for name in ("inputs", "labels"))
        model = model_of(case, inputs.shape[-1])
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD(model.parameters(), rate)
        order = torch.randperm(len(labels))
        for ids in torch.split(order, batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[ids]), labels[ids]).backward()
            optimizer.step()
        metrics = MetricRecord({"num-examples": len(labels)})
        return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)

    def judge(server_round: int, record: ArrayRecord) -> MetricRecord:
        now_s = time.perf_counter()
        if server_round:
            round_s.append(now_s - judge.ended_s)  # type: ignore[attr-defined]
        model = model_of(case, tests.shape[-1])
        model.load_state_dict(record.to_torch_state_dict())
        with torch.no_grad():
            logits: Tensor = model(tests)
        accuracy.append((logits.argmax(1) == answers).double().mean().item())
        spent_s.append(cpu_s())
        judge.ended_s = time.perf_counter()  # type: ignore[attr-defined]
        return MetricRecord({"accuracy": accuracy[-1]})

    @server_app.main()
    def serve(grid: Grid, context: Context) -> None:
        model = model_of(case, tests.shape[-1])
        first = {name: torch.tensor(loaded(folder, f"weight.{name}")) for name in model.state_dict()}
        strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=num_satellites)
        strategy.start(grid, ArrayRecord(first), num_rounds=rounds, evaluate_fn=judge)

    resources = {"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": WORKERS, "include_dashboard": False}}
    run_simulation(server_app, client_app, num_satellites, backend_config=resources)
    wall_s = time.perf_counter() - began_s
    print(json.dumps({"accuracy": accuracy[-1], "wall_s": wall_s, "round_s": round_s, "cpu_s": spent_s[-1]}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
