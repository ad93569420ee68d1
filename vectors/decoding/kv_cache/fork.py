"""Read blocks below the first shift once for a steered row and its base row: up to there, both hold the same stream."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from vectors.model.hooks import only_this_thread
from vectors.model.residual_model import ResidualModel


@dataclass(frozen=True)
class Fork:
    """Where the rows of a batch become more.

    Attributes:
        layer: the block after whose output they do.
        rows: for each row of the later blocks, the row of the earlier blocks that it continues.
    """

    layer: int
    rows: Int[Tensor, " upper"]


@contextmanager
def fork_rows(model: ResidualModel, fork: Fork | None, n_rows: int) -> Iterator[None]:
    """Run the blocks above a fork on its rows, in every forward of this thread inside the ``with`` block.

    What the blocks read beside the stream, such as masks and position embeddings, is repeated with the rows.

    Args:
        model: the model; it is unchanged afterwards.
        fork: where the rows become more; None leaves them as they are.
        n_rows: number of rows of the batch that the forward is given.
    """
    if fork is None:
        yield
        return

    def repeat(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(repeat(each) for each in value)
        if isinstance(value, Tensor) and value.ndim > 1 and len(value) == n_rows:
            return value[fork.rows.to(value.device)]
        return value

    def fork_stream(_block: nn.Module, _inputs: Any, output: Any) -> Any:
        return repeat(output)

    def repeat_arguments(_block: nn.Module, inputs: Any, arguments: dict[str, Any]) -> Any:
        stream, rest = inputs[:1], inputs[1:]
        if not stream:
            arguments = dict(arguments)
            return inputs, {
                name: value if name == "hidden_states" else repeat(value) for name, value in arguments.items()
            }
        return (*stream, *repeat(rest)), {name: repeat(value) for name, value in arguments.items()}

    with ExitStack() as hooks:
        block = model.blocks[fork.layer]
        # prepended after the hooks of a shift, so that the shift is added to the rows of both
        hooks.callback(block.register_forward_hook(only_this_thread(fork_stream), prepend=True).remove)
        for later in model.blocks[fork.layer + 1 :]:
            hook = later.register_forward_pre_hook(only_this_thread(repeat_arguments), with_kwargs=True)
            hooks.callback(hook.remove)
        yield
