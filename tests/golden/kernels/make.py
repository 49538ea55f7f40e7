"""Makes ops.npz: one op of a network in float64, for awkward shapes, from float32 inputs.

    python3 make.py        (NumPy only)

Arrays of case N are named N/...: `numbers` (batch, rows and columns of the grid; then by row and column
the steps of the operands, the steps of the result, which of these it writes, and log2 of the rows and
columns of the image per one of the grid; the gate: 0 none, 1 a sigmoid(b), 2 tanh(a) sigmoid(b);
whether there is a residual, and whether only the pixel phase knows it), `scale` of the result, per tap T `T/source` [rows,
columns, batch, channels], `T/weight` [channels, outputs], `T/offset` (row, column, pixel phase or not);
`bias` [classes, outputs], `class` [batch], `residual` and `y` [rows, columns, batch, channels] on the
grid of the result, NaN where this op writes nothing. `y_f16` and `y_bf16` are `y` from sources and
weights that were rounded to these types first; everything else stays as it is.
"""

from pathlib import Path

import numpy as np

rng = np.random.default_rng(20170119)


def to_bf16(x):
    """float32 rounded to bfloat16, ties to even; no infinities or NaNs among them."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


ROUNDINGS = {"y": lambda x: x, "y_f16": lambda x: x.astype(np.float16), "y_bf16": to_bf16}


NO_GATE, SIGMOID, TANH_SIGMOID = range(3)


def case(
    batch,
    rows,
    columns,
    taps,
    channels,
    gate=NO_GATE,
    residual=None,
    late_residual=False,
    input_step=(1, 1),
    output_step=(1, 1),
    parity=(0, 0),
    shift=(0, 0),
    classes=1,
    scale=1.0,
):
    """`taps`: list of (row offset, column offset, in the pixel phase, channels). Gates have a residual
    unless something else is said, other ops have none."""
    taps = sorted(taps, key=lambda tap: tap[2])  # those of the row phase first
    residual = gate != NO_GATE if residual is None else residual
    outputs = channels * (2 if gate else 1)
    arrays = {}
    totals = {name: np.zeros((rows, columns, batch, outputs)) for name in ROUNDINGS}
    sides = (rows * input_step[0], columns * input_step[1])
    for t, (dr, dc, pixel, k) in enumerate(taps):
        source = rng.standard_normal((*sides, batch, k)).astype(np.float32)
        weight = (rng.standard_normal((k, outputs)) / np.sqrt(k)).astype(np.float32)
        pad = max(abs(dr), abs(dc), 2)
        padded = np.zeros((sides[0] + 2 * pad, sides[1] + 2 * pad, batch, k))
        padded[pad:-pad, pad:-pad] = source
        taken = padded[pad + dr :, pad + dc :][: sides[0] : input_step[0], : sides[1] : input_step[1]]
        for name, rounded in ROUNDINGS.items():
            totals[name] += rounded(taken.astype(np.float32)).astype(np.float64) @ rounded(weight).astype(np.float64)
        arrays |= {f"{t}/source": source, f"{t}/weight": weight, f"{t}/offset": np.array([dr, dc, pixel], np.int64)}
    bias = rng.standard_normal((classes, outputs)).astype(np.float32)
    label = rng.integers(0, classes, batch)
    out = (rows * output_step[0], columns * output_step[1], batch, channels)
    added = rng.standard_normal(out).astype(np.float32)
    at = np.s_[parity[0] :: output_step[0], parity[1] :: output_step[1]]
    for name, total in totals.items():
        total += bias.astype(np.float64)[label]
        if gate:
            a, b = total[..., :channels], total[..., channels:]
            total = (np.tanh(a) if gate == TANH_SIGMOID else a) / (1 + np.exp(-b))
        y = np.full(out, np.nan)
        y[at] = (total + (added[at] if residual else 0)) * np.float64(np.float32(scale))
        arrays[name] = y
    numbers = [batch, rows, columns, *input_step, *output_step, *parity, *shift, gate, residual, late_residual]
    return arrays | {
        "numbers": np.array(numbers, np.int64),
        "scale": np.array([scale], np.float32),
        "bias": bias,
        "class": label.astype(np.int64),
        "residual": added,
    }


def conv22(k):
    return [(-1, -1, 0, k), (-1, 0, 0, k), (0, -1, 1, k), (0, 0, 1, k)]


cases = [
    # A first convolution with a skip in each phase, channel counts that fill no tile.
    case(1, 2, 3, conv22(10) + [(0, 0, 0, 6), (0, 0, 1, 6)], 5),
    case(3, 2, 3, conv22(40), 36),
    case(17, 1, 2, conv22(24), 12),
    # Gated, with class terms.
    case(1, 2, 2, conv22(10), 5, gate=SIGMOID, classes=3),
    case(4, 2, 3, conv22(72), 36, gate=SIGMOID),
    case(16, 2, 2, conv22(16), 8, gate=SIGMOID, classes=4),
    case(17, 2, 2, conv22(12), 6, gate=SIGMOID, classes=2),
    # Longer than one quad of k per thread.
    case(2, 1, 1, [(0, -1, 1, 700), (0, 0, 1, 700)], 4),
    # Stride 2; a row looked at two rows above.
    case(3, 2, 3, conv22(9), 7, input_step=(2, 2)),
    case(2, 3, 4, [(-2, c, 0, 2) for c in (-1, 0, 1)] + [(-1, c, 0, 2) for c in (-1, 0, 1)], 33),
] + [
    # Deconvolutions of each parity, in either phase.
    case(3, 2, 2, [(0, 0, 1 - i, 7)], 9, output_step=(2, 2), parity=(i, j))
    for i in range(2)
    for j in range(2)
] + [
    # The other gate; either without a residual.
    case(1, 2, 3, conv22(6), 5, gate=TANH_SIGMOID, classes=2),
    case(4, 2, 2, conv22(9), 18, gate=TANH_SIGMOID),
    case(17, 1, 2, conv22(5), 6, gate=TANH_SIGMOID, residual=False),
    case(3, 2, 2, conv22(8), 7, gate=SIGMOID, residual=False),
    # A residual without a gate, in either phase.
    case(1, 2, 3, conv22(6), 5, residual=True),
    case(5, 2, 2, conv22(11), 35, residual=True),
    case(18, 1, 2, conv22(5), 6, residual=True),
    case(2, 2, 2, [(-1, 0, 0, 6)], 6, residual=True),
    # Everything but the residual, or what is left of a residual, known before the pixel phase.
    case(3, 2, 3, [(-1, 0, 0, 6), (0, 0, 0, 3)], 5, residual=True, late_residual=True),
    case(17, 2, 2, [(-1, 0, 0, 6)], 7, gate=TANH_SIGMOID, late_residual=True),
    # Dilated by rows and columns: a wide halo, and as many rows as are no power of two.
    case(2, 6, 5, [(-3, c, 0, 4) for c in (-2, 0, 2)] + [(0, -4, 1, 5), (0, -2, 1, 5), (0, 0, 1, 5)], 6),
    case(17, 3, 2, [(-7, -9, 0, 3), (-5, 3, 0, 3), (0, -3, 1, 3)], 8, gate=SIGMOID),
    # More taps than the kernels' parameters hold, in the row phase, in the pixel phase, in both.
    case(2, 3, 4, [(r, c, 0, 3) for r in (-3, -2, -1) for c in range(-3, 4)] + [(0, c, 1, 3) for c in (-3, -2, -1)], 5),
    case(3, 2, 3, [(-1, 0, 0, 3)] + [(0, -c, 1, 7) for c in range(12)], 5, gate=TANH_SIGMOID),
    case(17, 1, 3, [(-r, c, 0, 2) for r in (1, 2) for c in range(-2, 3)] + [(0, -c, 1, 9) for c in range(9)], 33),
    # Other steps by row than by column, on grids coarser than the image.
    case(2, 2, 3, [(-1, 0, 0, 5), (1, -1, 0, 5), (0, 0, 1, 5)], 6, input_step=(2, 1), shift=(1, 0)),
    case(3, 2, 2, [(-1, 1, 0, 5), (0, 2, 0, 5), (0, -1, 1, 5)], 6, input_step=(1, 4), shift=(2, 3)),
    case(2, 2, 2, [(0, 0, 0, 7), (0, -1, 0, 7)], 9, output_step=(1, 2), parity=(0, 1), shift=(0, 1)),
    case(2, 2, 2, [(0, 0, 1, 7)], 9, output_step=(2, 1), residual=True, parity=(1, 0), shift=(1, 0)),
    # Scaled, with and without a gate and a residual, in either phase.
    case(3, 2, 2, conv22(6), 7, residual=True, scale=0.5**0.5),
    case(17, 1, 2, conv22(5), 6, gate=SIGMOID, scale=-1.5),
    case(1, 2, 3, conv22(8), 5, gate=TANH_SIGMOID, residual=False, scale=0.3),
    case(2, 2, 2, [(-1, 0, 0, 6)], 5, scale=2.5),
]

arrays = {f"{n}/{name}": array for n, arrays in enumerate(cases) for name, array in arrays.items()}
np.savez_compressed(Path(__file__).with_name("ops.npz"), **arrays)
