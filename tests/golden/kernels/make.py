"""Makes steps.npz: one step of the network in float64, for awkward shapes, from float32 inputs.

    python3 make.py        (NumPy only)

Arrays of case N are named N/...: `numbers` (batch, rows and columns of the grid, then input
step, output step, output row and column parity, gated, classes), per term T `T/source` [rows,
columns, batch, channels], `T/weight` [channels, sums], `T/offset` (row, column, pixel phase or not);
`bias` [classes, sums], `class` [batch], `residual` and `y` [rows, columns, batch, channels] on the
output grid, NaN where this step writes nothing. `y_f16` and `y_bf16` are `y` from sources and weights that were
rounded to these types first; everything else stays as it is.
"""

from pathlib import Path

import numpy as np

rng = np.random.default_rng(20170119)


def to_bf16(x):
    """float32 rounded to bfloat16, ties to even; no infinities or NaNs among them."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


ROUNDINGS = {"y": lambda x: x, "y_f16": lambda x: x.astype(np.float16), "y_bf16": to_bf16}


def case(batch, rows, columns, terms, channels, gated=False, input_step=1, output_step=1, parity=(0, 0), classes=1):
    """`terms`: list of (row offset, column offset, in the pixel phase, channels)."""
    terms = sorted(terms, key=lambda term: term[2])  # those of the row phase first
    sums = channels * (2 if gated else 1)
    arrays = {}
    totals = {name: np.zeros((rows, columns, batch, sums)) for name in ROUNDINGS}
    for t, (dr, dc, pixel, k) in enumerate(terms):
        source = rng.standard_normal((rows * input_step, columns * input_step, batch, k)).astype(np.float32)
        weight = (rng.standard_normal((k, sums)) / np.sqrt(k)).astype(np.float32)
        padded = np.zeros((rows * input_step + 4, columns * input_step + 4, batch, k))
        padded[2:-2, 2:-2] = source
        taken = padded[2 + dr :, 2 + dc :][: rows * input_step : input_step, : columns * input_step : input_step]
        for name, rounded in ROUNDINGS.items():
            totals[name] += rounded(taken.astype(np.float32)).astype(np.float64) @ rounded(weight).astype(np.float64)
        arrays |= {f"{t}/source": source, f"{t}/weight": weight, f"{t}/offset": np.array([dr, dc, pixel], np.int64)}
    bias = rng.standard_normal((classes, sums)).astype(np.float32)
    label = rng.integers(0, classes, batch)
    out = (rows * output_step, columns * output_step, batch, channels)
    residual = rng.standard_normal(out).astype(np.float32)
    at = np.s_[parity[0] :: output_step, parity[1] :: output_step]
    for name, total in totals.items():
        total += bias.astype(np.float64)[label]
        y = np.full(out, np.nan)
        if gated:
            y[at] = residual[at] + total[..., :channels] / (1 + np.exp(-total[..., channels:]))
        else:
            y[at] = total
        arrays[name] = y
    numbers = [batch, rows, columns, input_step, output_step, *parity, gated, classes]
    return arrays | {
        "numbers": np.array(numbers, np.int64),
        "bias": bias,
        "class": label.astype(np.int64),
        "residual": residual,
    }


def conv22(k):
    return [(-1, -1, 0, k), (-1, 0, 0, k), (0, -1, 1, k), (0, 0, 1, k)]


cases = [
    # A first convolution with a skip in each phase, channel counts that fill no tile.
    case(1, 2, 3, conv22(10) + [(0, 0, 0, 6), (0, 0, 1, 6)], 5),
    case(3, 2, 3, conv22(40), 36),
    case(17, 1, 2, conv22(24), 12),
    # Gated, with class terms.
    case(1, 2, 2, conv22(10), 5, gated=True, classes=3),
    case(4, 2, 3, conv22(72), 36, gated=True),
    case(16, 2, 2, conv22(16), 8, gated=True, classes=4),
    case(17, 2, 2, conv22(12), 6, gated=True, classes=2),
    # Longer than one quad of k per thread.
    case(2, 1, 1, [(0, -1, 1, 700), (0, 0, 1, 700)], 4),
    # Stride 2; a row looked at two rows above.
    case(3, 2, 3, conv22(9), 7, input_step=2),
    case(2, 3, 4, [(-2, c, 0, 2) for c in (-1, 0, 1)] + [(-1, c, 0, 2) for c in (-1, 0, 1)], 33),
] + [
    # Deconvolutions of each parity, in either phase.
    case(3, 2, 2, [(0, 0, 1 - i, 7)], 9, output_step=2, parity=(i, j))
    for i in range(2)
    for j in range(2)
]

arrays = {f"{n}/{name}": array for n, arrays in enumerate(cases) for name, array in arrays.items()}
np.savez_compressed(Path(__file__).with_name("steps.npz"), **arrays)
