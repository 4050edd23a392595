"""Some of the tokens of a sequence."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class TokenSubset(NamedTuple):
    """TokenSubset tokens of a longer sequence: those that anything reads further on."""

    index: slice
    tokens: int  # of the whole sequence


def select_tokens(x: Float[Tensor, "B T H"], subset: TokenSubset | None) -> Float[Tensor, "B M H"]:
    """Those tokens, or all."""
    return x if subset is None else x[:, subset.index]
