"""How many rows to compute at once, so that a text does not depend on the batch that it is written in.

Matrix kernels sum in an order that depends on the number of rows. In half precision the difference grows over the
blocks until it changes tokens.
"""

from typing import Final

import torch
from jaxtyping import Int
from torch import Tensor

from vectors.model.residual_model import ResidualModel

_MULTIPLE: Final = 16
_LEAST: Final = 48  # bfloat16 kernels of CPUs with matrix units sum in another order below this


def padded_rows(model: ResidualModel, rows: int) -> int:
    """Return a number of rows, at least `rows`, chosen so that kernels sum in the same order for all that it returns.

    In float32 it holds for products with packed weights (`PackedWeights`) and, on one thread, for others; in bfloat16
    for blocks up to about 2,000 numbers wide, on one thread. On a GPU it is `rows`: kernels there differ with every
    size.
    """
    if model.device.type != "cpu":
        return rows
    least = _MULTIPLE if model.dtype.itemsize >= 4 else _LEAST
    return max(least, -(-rows // _MULTIPLE) * _MULTIPLE)


def prefill_groups(model: ResidualModel, rows: Int[Tensor, " rows"], length: int) -> list[Int[Tensor, " group"]]:
    """Return the rows in groups, of one size, in which to read a prefix of `length` tokens.

    The last group repeats its last row. On a GPU there is one group.
    """
    if model.device.type != "cpu":
        return [rows]
    size = -(-padded_rows(model, 1) // length)
    groups = list(torch.split(rows, size))
    missing = size - len(groups[-1])
    return [*groups[:-1], groups[-1][[*range(len(groups[-1])), *[-1] * missing]]]
