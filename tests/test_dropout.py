"""Dropout by a hash: one mask on every path, shard and slice of a sequence, and numbers that look random."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers.models import batch
from torch import Tensor

from dmm.base.seeds import STREAMS, derive_seed
from dmm.kernels import sampling
from dmm.kernels.build import library
from dmm.layers import Attention, Dropout, trimmed_to
from dmm.layers.dropout import keyed_dropout

KEYS = [derive_seed(seed, "dropout") << 31 for seed in range(2)] + [0, 1]  # of update 0, and very plain ones


def kept(key: int, call: int, rows: int, places: int, p: float) -> Tensor:
    """Whether each place of each row is kept."""
    keys = sampling.row_keys(torch.tensor(key), 0, rows)
    return sampling.dropout_mask(keys, call, (1, 1, places), range(1), p, torch.ones(1)).view(rows, places) > 0


def without_kernel(monkeypatch) -> None:
    monkeypatch.setattr(sampling, "library", lambda: (None, "for this test"))


@pytest.mark.parametrize("read", [range(9), range(1, 9, 3), range(8, 9), range(2, 6)])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1e-12, 1.0])
def test_all_paths_give_the_same_mask(p, read, monkeypatch):
    if library()[0] is None:
        pytest.skip("no C++ kernels")
    key, shape = torch.tensor(2**62 + 5), (2, 9, 7)
    keys = sampling.row_keys(key, 3, 5)
    whole = sampling.dropout_mask(keys, 4, shape, range(9), p, torch.ones(1))
    found = sampling.dropout_mask(keys, 4, shape, read, p, torch.ones(1))
    assert torch.equal(found, whole[:, :, read.start : read.stop : read.step])
    assert set(found.unique().tolist()) <= {0.0, float(torch.tensor(1 / (1 - p)))} if p < 1 else not found.any()
    without_kernel(monkeypatch)
    assert torch.equal(sampling.row_keys(key, 3, 5), keys)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        other = sampling.dropout_mask(keys, 4, shape, read, p, torch.ones(1, dtype=dtype))
        assert other.dtype == dtype and torch.equal(other, found.to(dtype)) or dtype == torch.float64
        assert torch.equal(other > 0, found > 0)


@pytest.mark.parametrize("has_kernel", [True, False])
def test_a_mask_is_known_by_heart(has_kernel, monkeypatch):
    """The hash written out in Python's integers."""

    def mixed(x):
        x = (x ^ x >> 16) * 0x7FEB352D % 2**32
        x = (x ^ x >> 15) * 0x846CA68B % 2**32
        return x ^ x >> 16

    def word(key, call, row, place):
        first, second = (mixed(mixed(mixed(mixed(lane ^ key % 2**32) ^ key >> 32) ^ row) ^ call) for lane in (1, 2))
        x = (place * 0x9E3779B9 + first) % 2**32
        x = (x ^ x >> 16) * 0x7FEB352D % 2**32 ^ second
        x = (x ^ x >> 15) * 0x846CA68B % 2**32
        return (x ^ x >> 16) * 0x31848BAB % 2**32

    if not has_kernel:
        without_kernel(monkeypatch)
    key, call, first_row = KEYS[1] + 77, 3, 40
    keys = sampling.row_keys(torch.tensor(key), first_row, 3)
    found = sampling.dropout_mask(keys, call, (2, 3, 4), range(3), 0.25, torch.ones(1)) > 0
    signed = [[(word(key, call, first_row + row, place) + 2**31) % 2**32 for place in range(24)] for row in range(3)]
    assert found.flatten(1).tolist() == [[number < 0.75 * 2**32 for number in row] for row in signed]


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_look_random(p):
    """Over a million numbers a key: the share kept, and correlations along each axis, within 4.5 standard errors."""
    for key in KEYS:
        found = torch.stack([
            torch.stack([kept(key + update, call, 32, 1024, p) for call in range(8)]) for update in range(8)
        ])  # fmt: skip
        deviation = (found.double() - (1 - p)) / (p * (1 - p)) ** 0.5
        assert abs(deviation.sum()) < 4.5 * found.numel() ** 0.5, key
        for axis in range(4):
            for lag in (1, 2, 3, 4, 7) + ((128, 512) if axis == 3 else ()):
                length = found.shape[axis]
                products = deviation.narrow(axis, lag, length - lag) * deviation.narrow(axis, 0, length - lag)
                assert abs(products.sum()) < 4.5 * products.numel() ** 0.5, (key, axis, lag)
        rows = deviation.flatten(0, 2)
        pairs = (rows @ rows.T / 1024**0.5).triu(1)  # of all rows, calls and updates with each other
        assert abs(pairs).max() < 8  # equal rows would have 32
        patterns = (found.view(-1, 4).int() * torch.tensor([8, 4, 2, 1])).sum(1).bincount(minlength=16)
        ones = torch.tensor([number.bit_count() for number in range(16)])
        expected = patterns.sum() * (1 - p) ** ones * p ** (4 - ones)
        assert ((patterns - expected) ** 2 / expected).sum() < 45  # chi-square of 15 degrees: 1 in 10,000


def test_seeds_have_different_masks():
    found = torch.stack([kept(derive_seed(seed, "dropout") << 31, 0, 4, 512, 0.5).flatten() for seed in range(20)])
    different = (found[:, None] != found).double().mean(2)[~torch.eye(20, dtype=torch.bool)]
    assert ((different - 0.5).abs() < 4.5 * 0.5 / 2048**0.5).all()


def test_a_shard_has_the_masks_of_its_rows_in_the_whole_batch():
    whole = replace(batch(rows=5), dropout_key=torch.tensor(7))
    parts = [
        replace(whole, **{name: value[rows] for name, value in whole.tensors().items() if value.ndim}, first_row=first)
        for rows, first in ((slice(0, 3), 0), (slice(3, 5), 3))
    ]
    layer, x = Dropout(0.5), torch.ones(5, 11, 16)

    def run(data, x):
        with keyed_dropout(data):
            return torch.stack([layer(x), layer(x)], 1)

    expected = run(whole, x)
    assert not torch.equal(expected[:, 0], expected[:, 1])  # each call has its mask
    assert torch.equal(torch.cat([run(parts[0], x[:3]), run(parts[1], x[3:])]), expected)
    assert torch.equal(run(whole, x), expected)
    assert not torch.equal(run(replace(whole, dropout_key=torch.tensor(8)), x), expected)
    frames = x.repeat_interleave(4, 0)  # four sequences a row
    found = run(whole, frames)
    assert torch.equal(torch.cat([run(parts[0], frames[:12]), run(parts[1], frames[12:])]), found)
    assert len(found.flatten(1).unique(dim=0)) == 20
    with pytest.raises(ValueError, match="6 rows.*5 rows of the batch"):
        run(whole, torch.ones(6, 11, 16))


def test_without_a_key_dropout_is_torch_s():
    x = torch.ones(2, 5, 16)
    with keyed_dropout(batch(rows=2)):
        torch.manual_seed(0)
        found = Dropout(0.3)(x)
    torch.manual_seed(0)
    assert torch.equal(found, F.dropout(x, 0.3))
    assert torch.equal(Dropout(0.3).eval()(x), x)


def test_attention_weights_that_are_read_have_their_masks():
    data, layer = replace(batch(rows=2), dropout_key=torch.tensor(3)), Attention(16, 2, 0.5).double()
    x, bias = torch.randn(2, 8, 16).double(), torch.zeros(2, 1, 8, 8).double()
    with keyed_dropout(data):
        whole = layer(x, bias)
    with keyed_dropout(data), trimmed_to(slice(1, None, 3), 8):
        torch.testing.assert_close(layer(x, bias), whole[:, 1::3])


def test_streams_of_seeds_do_not_meet():
    tuples = [(seed, stream, *indices) for seed in (0, 1) for stream in STREAMS for indices in ((), (0,), (0, 0), (1,))]
    assert len({derive_seed(*values) for values in tuples}) == len(tuples)
    with pytest.raises(ValueError, match="no stream of seeds 'weight'.*weights, windows"):
        derive_seed(0, "weight")
