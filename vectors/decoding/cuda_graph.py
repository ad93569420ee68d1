"""A step of the decode loop recorded as a CUDA graph: launched whole, it costs the host next to nothing."""

import warnings
from collections.abc import Callable
from weakref import WeakSet

import torch
from torch import Tensor

from vectors.common.errors import SteerWarning
from vectors.model.residual_model import ResidualModel

_WARM_UPS = 2  # runs before recording: kernels are chosen and memory is set aside in them
_REFUSED: WeakSet[ResidualModel] = WeakSet()


def can_capture(model: ResidualModel) -> bool:
    """Tell whether a step of the model may be recorded: all of it on one GPU, and no earlier try has failed."""
    places = {weight.device for weight in model.hf.parameters()}
    return model not in _REFUSED and len(places) == 1 and next(iter(places)).type == "cuda"


def capture_step(
    model: ResidualModel, step: Callable[[], Tensor], *, restore: Callable[[], None]
) -> Callable[[], Tensor]:
    """Return what does the same as `step`, recorded; or `step` itself where that cannot be, which is said once a model.

    Args:
        model: the model.
        step: works on tensors that stay where they are, and waits for nothing.
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
            found = step()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        torch.cuda.synchronize()
        restore()
        _REFUSED.add(model)
        cause = str(error).splitlines()[0][:120]
        slow = f"model {model.name!r} is decoded step by step, which is slower: it cannot be recorded ({cause})"
        warnings.warn(slow, SteerWarning, stacklevel=2)
        return step

    def replay() -> Tensor:
        graph.replay()
        return found

    return replay
