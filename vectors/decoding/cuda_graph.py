"""Capture a step of the decode loop as a CUDA graph, so that the host launches all its kernels at once."""

import warnings
from collections.abc import Callable
from weakref import WeakSet

import torch
from torch import Tensor

from vectors.common.errors import SteerWarning
from vectors.model.residual_model import ResidualModel

_WARM_UPS = 2  # runs before the capture, in which kernels are chosen and memory is allocated
_FAILED: WeakSet[ResidualModel] = WeakSet()


def can_capture(model: ResidualModel) -> bool:
    """Whether to try to capture a step: the whole model is on one GPU, and no earlier capture failed."""
    devices = {weight.device for weight in model.hf.parameters()}
    return model not in _FAILED and len(devices) == 1 and next(iter(devices)).type == "cuda"


def capture_step(
    model: ResidualModel, step: Callable[[], Tensor], *, restore: Callable[[], None]
) -> Callable[[], Tensor]:
    """Return a CUDA-graph replay of `step`, or `step` itself if capture fails (one warning a model).

    Args:
        model: the model that `step` runs.
        step: a function of fixed tensors that never waits for the GPU.
        restore: undoes what a run of `step` changed.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                step()
                restore()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = step()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        torch.cuda.synchronize()
        restore()
        _FAILED.add(model)
        cause = str(error).splitlines()[0][:120]
        message = f"model {model.name!r} is decoded without a CUDA graph, which is slower: capture failed ({cause})"
        warnings.warn(message, SteerWarning, stacklevel=2)
        return step

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay
