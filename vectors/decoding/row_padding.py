"""How many rows to compute at once, so that a text does not depend on the batch that it is written in.

Matrix kernels sum in an order that depends on the number of rows. In half precision the difference grows over the
blocks to other tokens: of 96-token texts in bfloat16, written one at a time and 64 at a time, almost none is the same.
"""

from typing import Final

import torch
from jaxtyping import Int
from torch import Tensor

from vectors.model.residual_model import ResidualModel

_MULTIPLE: Final = 16
_LEAST: Final = 48  # from this number of rows on, bfloat16 kernels for CPUs with matrix units sum in one order


def padded_rows(model: ResidualModel, rows: int) -> int:
    """Return the number of rows, at least `rows`, for which kernels sum as they do for any other that this returns.

    It is measured for CPUs (`benchmarks/RESULTS.md`). On a GPU it is `rows`: kernels there differ with every size.
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
