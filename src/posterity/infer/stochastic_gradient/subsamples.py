"""Random subsets of a plate's elements, for many chains and steps at once."""

import torch
from torch import Tensor

from posterity.kernels import Key, uniform


def random_subsets(size: int, taken: int, keys: Key) -> Tensor:
    """For each key, `taken` of the whole numbers below `size`, every subset as likely as any other.

    Their order is not random.

    Args:
        size: How many numbers to choose from.
        taken: How many to take, without repetition.
        keys: `[*batch, 2]`.

    Returns:
        int64 tensor `[*batch, taken]`.

    Source: R. W. Floyd's algorithm, in Bentley and Floyd (1987), "Programming pearls: a sample of brilliance"; sorting
    random numbers where it would take longer.

    Example:
        >>> keys = Key(0).fold_in(torch.arange(3))
        >>> subsets = random_subsets(5, 4, keys)
        >>> subsets.shape, all(len(set(row.tolist())) == 4 for row in subsets)
        (torch.Size([3, 4]), True)
    """
    if taken * taken > _SORTED * size:
        return uniform((size,), source=keys, dtype=torch.float64).argsort(-1)[..., :taken]
    tops = torch.arange(size - taken, size, device=keys.data.device)
    drawn = (uniform((taken,), source=keys, dtype=torch.float64) * (tops + 1)).long()
    # One row for each element, so that a comparison with all the rows before is a pass over contiguous memory.
    rows = drawn.reshape(-1, taken).T.int().contiguous()
    for i in range(1, taken):
        repeated = (rows[:i] == rows[i]).view(torch.uint8).amax(0)  # in half the time of `any`
        rows[i].masked_fill_(repeated.bool(), size - taken + i)
    return rows.T.long().reshape(drawn.shape)


# Floyd's algorithm compares all pairs of what it takes, and sorting touches all that there is, at so much a number.
_SORTED = 64
