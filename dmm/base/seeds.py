"""Seeds. Each random choice has its own generator. The generator's seed is derived from the trial's seed."""

import numpy as np

STREAMS = {"weights": 0, "windows": 1, "generator": 2, "dropout": 3, "episode": 4}


def derive_seed(seed: int, stream: str, *indices: int) -> int:
    """A seed of 32 bits for one use of a trial's seed, for example (trial seed, "episode", evaluation, index).

    Different streams give unrelated seeds, and so do tuples of different lengths. Raises ValueError for an unknown stream.
    """
    if stream not in STREAMS:
        raise ValueError(f"there is no stream of seeds {stream!r}; there are {', '.join(STREAMS)}")
    return int(np.random.SeedSequence(seed, spawn_key=(STREAMS[stream], *indices)).generate_state(1)[0])
