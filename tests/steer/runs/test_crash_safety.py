"""Runs that are killed, write to one file, or share a model between threads and forks."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

import steer
from steer.runs.sample import read_lines
from steer.runs.sample_set import SampleSet
from vectors.common.errors import OutputError
from vectors.concepts.vector import ConceptVector
from vectors.model.residual_model import ResidualModel

N = 2000


def vector(model: ResidualModel, name: str = "cat", seed: int = 1) -> ConceptVector:
    row = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    return ConceptVector(
        name=name, model=model.name, model_hash=model.hash, layer=1, direction=row / row.norm(),
        mean=torch.zeros(model.d_model), gap=3.0, method="mean", positions="all", created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def started(model: ResidualModel, output: Path) -> tuple[Any, Any]:
    """Fork a process that samples the file to its end; return it, and a pipe with the index of each saved sample."""
    context = get_context("fork")  # a fork has loaded everything already, so it can be killed while it samples
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_sample_file, args=(model, output, sender))
    process.start()
    sender.close()
    return process, receiver


def _sample_file(model: ResidualModel, output: Path, sender: Any) -> None:
    torch.set_num_threads(1)
    steer.sample(
        model, {vector(model): 1.0}, n=N, radius=0.5, seed=5, max_tokens=24, output=output, resume=True,
        watcher=lambda sample: sender.send(sample.index),
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.slow
def test_ten_kills_lose_no_finished_sample(llama_model: ResidualModel, tmp_path: Path) -> None:
    torch.set_num_threads(1)  # the threads of the parent are not there after a fork
    model, output = llama_model, tmp_path / "run.jsonl"
    chance, finished = random.Random(0), set[int]()
    for _ in range(10):
        process, receiver = started(model, output)
        reported = {receiver.recv()}  # it samples now
        end = time.monotonic() + chance.uniform(0.0, 0.35)
        while time.monotonic() < end:
            reported.add(receiver.recv())
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        finished |= reported
        saved = [
            sample.index
            for sample, _ in read_lines(output.read_bytes().splitlines(keepends=True), "run")
            if sample is not None
        ]
        assert len(saved) == len(set(saved)) and finished <= set(saved)
    assert 0 < len(finished) < N
    resumed = steer.sample(
        model, {vector(model): 1.0}, n=N, radius=0.5, seed=5, max_tokens=24, output=output, resume=True
    )
    expected = steer.sample(model, {vector(model): 1.0}, n=N, radius=0.5, seed=5, max_tokens=24)
    assert [sample.tokens for sample in SampleSet.load(output)] == [sample.tokens for sample in expected]
    assert [sample.tokens for sample in resumed] == [sample.tokens for sample in expected]


def test_two_runs_do_not_share_a_file(llama_model: ResidualModel, tmp_path: Path) -> None:
    output, refused = tmp_path / "run.jsonl", list[str]()

    def again(_: object) -> None:
        for mode in ({"resume": True}, {"force": True}):
            with pytest.raises(OutputError) as caught:
                steer.sample(llama_model, {vector(llama_model): 1.0}, n=4, max_tokens=8, output=output, **mode)
            refused.append(str(caught.value))

    steer.sample(llama_model, {vector(llama_model): 1.0}, n=3, max_tokens=8, output=output, watcher=again)
    assert len(refused) == 6 and len(SampleSet.load(output)) == 3
    assert all(len(message.splitlines()) == 1 for message in refused)


def test_threads_sample_one_model_with_different_points(llama_model: ResidualModel) -> None:
    points = [{vector(llama_model, f"c{seed}", seed): 1.0} for seed in range(4)]
    expected = [steer.sample(llama_model, point, n=12, max_tokens=12, seed=3).texts for point in points]
    gate = threading.Barrier(4)

    def run(point: dict[ConceptVector, float]) -> list[str]:
        gate.wait()
        return list(steer.sample(llama_model, point, n=12, max_tokens=12, seed=3).texts)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, points)) == expected
    assert not any(module._forward_hooks for module in llama_model.hf.modules())


def _forked(queue: object, model: ResidualModel) -> None:
    torch.set_num_threads(1)  # the threads of the parent are not there
    queue.put(list(steer.sample(model, {vector(model): 1.0}, n=4, max_tokens=8, seed=3).texts))  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_samples_the_same_texts(llama_model: ResidualModel) -> None:
    torch.set_num_threads(1)
    expected = steer.sample(llama_model, {vector(llama_model): 1.0}, n=4, max_tokens=8, seed=3).texts
    context = get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_forked, args=(queue, llama_model))
    child.start()
    assert queue.get(timeout=120) == list(expected)
    child.join()
    assert not any(module._forward_hooks for module in llama_model.hf.modules())


def test_two_points_in_one_process_do_not_mix(llama_model: ResidualModel) -> None:
    base = steer.sample(llama_model, None, n=6, max_tokens=10, seed=3).texts
    first, second = ({vector(llama_model, f"c{seed}", seed): 2.0} for seed in (1, 2))
    one = steer.sample(llama_model, first, n=6, max_tokens=10, seed=3).texts
    half = steer.stream(llama_model, first, n=6, max_tokens=10, seed=3)
    next(half)  # left open
    assert steer.sample(llama_model, second, n=6, max_tokens=10, seed=3).texts not in (one, base)
    assert steer.sample(llama_model, None, n=6, max_tokens=10, seed=3).texts == base
    half.close()  # type: ignore[attr-defined]
    assert steer.sample(llama_model, first, n=6, max_tokens=10, seed=3).texts == one
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in llama_model.hf.modules())
