"""Makes output.npz and likelihood.npz: the end of a pixel and the log-likelihood in float64, for
awkward shapes, from float32 inputs.

    python3 make_output.py        (NumPy only)

output.npz, arrays of case N named N/...: `numbers` (rows, columns, batch, channels, nr_mix, depth,
continuous), `temperature`, `seed` and `index` [batch] as pairs of 32-bit words (low, high),
`source` [rows, columns, batch, depth], `weights` [depth, count], `bias` [count], `given` [batch,
rows * columns, channels] levels, `given_count` [batch]; `params` [batch, rows * columns, count] and
`values` [batch, rows * columns, channels] are the results.

likelihood.npz, likewise: `numbers` (channels, nr_mix), `params` [pixels, count], `levels` [pixels,
channels]; `nats` [pixels] is the result, `rounding` [pixels] how much of it float32 can change where
a bin's probability is the difference of two nearly equal numbers.

Cases are drawn until no decision (component, level, which branch of the likelihood) is closer than
a stated margin: float32 may decide those either way.
"""

from pathlib import Path

import numpy as np

rng = np.random.default_rng(20170404)

# --- Philox4x32-10 (Salmon et al. 2011) ---

MASK = np.uint64(0xFFFFFFFF)


def philox(counter, key):
    c = [np.uint64(word) for word in counter]
    key = [np.uint64(word) for word in key]
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        shift = np.uint64(32)
        c = [(second >> shift) ^ c[1] ^ key[0], second & MASK, (first >> shift) ^ c[3] ^ key[1], first & MASK]
        key = [(key[0] + np.uint64(0x9E3779B9)) & MASK, (key[1] + np.uint64(0xBB67AE85)) & MASK]
    return c


# Published with the authors' Random123.
assert [f"{int(w):08x}" for w in philox([0] * 4, [0] * 2)] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
assert [f"{int(w):08x}" for w in philox([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2)] == [
    "408f276d",
    "41c83b0e",
    "a20bc7c6",
    "6d5451fd",
]


def uniforms(seed, image, pixel, count):
    """The first draws of a pixel, as the float32 numbers in [1e-5, 1 - 1e-5] they are."""
    words = []
    for draw in range((count + 3) // 4):
        words += philox([image[0], pixel, draw, image[1]], seed)
    least = np.float32(1e-5)
    span = np.float32(1) - np.float32(2) * least
    upper = np.array([int(word) >> 8 for word in words[:count]], np.float64)
    return np.float64(np.float32(upper / 2**24 * np.float64(span) + np.float64(least)))


# --- the mixture ---


def parts(params, channels, nr_mix):
    """Means, log-scales and coefficients [channel][mix], of parameters [..., count]."""
    per = 3 if channels == 3 else 2
    rest = params[..., nr_mix:]
    rest = rest.reshape(*params.shape[:-1], channels, per, nr_mix)
    coefficients = np.tanh(rest[..., 2, :]) if channels == 3 else None
    return rest[..., 0, :], np.maximum(rest[..., 1, :], -7.0), coefficients


def linear(coefficients, channel, x):
    if channel == 0:
        return 0.0
    if channel == 1:
        return coefficients[..., 0, :] * x[..., 0, None]
    return coefficients[..., 1, :] * x[..., 0, None] + coefficients[..., 2, :] * x[..., 1, None]


def grid(level):
    return (level - 127.5) / 127.5


class Redraw(Exception):
    """A case that would not tell much, or that float32 may decide otherwise."""


def sample(params, u, channels, nr_mix, temperature, continuous):
    scores = params[:nr_mix] / temperature - np.log(-np.log(u[:nr_mix]))
    order = np.sort(scores)
    if nr_mix > 1 and order[-1] - order[-2] < 1e-4:
        raise Redraw
    k = int(np.argmax(scores))
    means, log_scales, coefficients = parts(params, channels, nr_mix)
    x = np.zeros(3)
    for channel in range(channels):
        v = u[nr_mix + channel]
        noise = np.log(v) - np.log(1 - v)
        mean = means[channel, k] + (linear(coefficients, channel, x)[k] if channel else 0.0)
        x[channel] = np.clip(mean + np.exp(log_scales[channel, k]) * temperature * noise, -1, 1)
    if continuous:
        return x[:channels]
    level = x[:channels] * 127.5 + 127.5
    if np.any(np.abs(level - np.floor(level) - 0.5) < 1e-3):
        raise Redraw
    return grid(np.round(level))


def count_of(channels, nr_mix):
    return nr_mix * (10 if channels == 3 else 3)


def output(rows, columns, batch, channels, nr_mix, depth, temperature=1.0, continuous=False, given=None):
    """`given`: levels given per image, from the top."""
    while True:
        try:
            return draw_output(rows, columns, batch, channels, nr_mix, depth, temperature, continuous, given)
        except Redraw:
            pass


def draw_output(rows, columns, batch, channels, nr_mix, depth, temperature, continuous, given):
    count = count_of(channels, nr_mix)
    pixels = rows * columns
    source = rng.standard_normal((rows, columns, batch, depth)).astype(np.float32)
    weights = (0.6 * rng.standard_normal((depth, count)) / np.sqrt(depth)).astype(np.float32)
    bias = (0.5 * rng.standard_normal(count)).astype(np.float32)
    # Scales about a tenth, so that not every value is clipped.
    rest = bias[nr_mix:].reshape(channels, -1, nr_mix)
    rest[:, 1] -= 2.5
    temperature = np.float32(temperature)
    seed = rng.integers(0, 2**32, 2)
    index = rng.integers(0, 2**32, (batch, 2))
    levels = rng.integers(0, 256, (batch, pixels, channels))
    levels[:, ::2] = rng.choice([0, 255], levels[:, ::2].shape)
    given_count = np.array(given if given else [0] * batch)
    params = np.einsum("rcbk,kp->brcp", source.astype(np.float64), weights.astype(np.float64)) + bias
    params = params.reshape(batch, pixels, count)
    values = np.zeros((batch, pixels, channels))
    for image in range(batch):
        for pixel in range(pixels):
            if (pixel + 1) * channels <= given_count[image]:
                values[image, pixel] = grid(levels[image, pixel])
                continue
            u = uniforms(seed, index[image], pixel, nr_mix + channels)
            values[image, pixel] = sample(
                params[image, pixel], u, channels, nr_mix, np.float64(temperature), continuous
            )
    if pixels > 1 and np.mean(np.abs(values) == 1) > 0.6:  # given edges and clipped samples
        raise Redraw
    return {
        "numbers": np.array([rows, columns, batch, channels, nr_mix, depth, continuous], np.int64),
        "temperature": np.array([temperature], np.float32),
        "seed": seed.astype(np.int64),
        "index": index.astype(np.int64),
        "source": source,
        "weights": weights,
        "bias": bias,
        "given": levels.astype(np.uint8),
        "given_count": given_count.astype(np.int64),
        "params": params,
        "values": values,
    }


# --- the likelihood ---


def sigmoid(x):
    return np.exp(-softplus(-x))


def softplus(x):
    return np.logaddexp(0, x)


def log_sum_exp(values):
    largest = values.max(-1, keepdims=True)
    return (largest + np.log(np.exp(values - largest).sum(-1, keepdims=True)))[..., 0]


def log_bins(x, mean, log_scale):
    """Log-probabilities, and by how much rounding both ends' sigmoids to float32 can change them."""
    inverse_scale = np.exp(-log_scale)
    plus = inverse_scale * (x - mean + 1 / 255)
    minus = inverse_scale * (x - mean - 1 / 255)
    middle = inverse_scale * (x - mean)
    bin_ = sigmoid(plus) - sigmoid(minus)
    density = middle - log_scale - 2 * softplus(middle) - np.log(127.5)
    value = np.where(bin_ > 1e-5, np.log(np.maximum(bin_, 1e-300)), density)
    # Each sigmoid and their difference are rounded to 24 bits.
    change = np.where(bin_ > 1e-5, 4 * 2**-24 * sigmoid(plus) / np.maximum(bin_, 1e-300), 0.0)
    inside = np.abs(x) <= 0.999
    if np.any(inside & (np.abs(bin_ / 1e-5 - 1) < 0.05)):
        raise Redraw
    value = np.where(x < -0.999, plus - softplus(plus), np.where(x > 0.999, -softplus(minus), value))
    return value, np.where(inside, change, 0.0), inside & (bin_ <= 1e-5)


def likelihood(pixels, channels, nr_mix):
    params = np.zeros((pixels, count_of(channels, nr_mix)), np.float32)
    levels = np.zeros((pixels, channels), np.int64)
    nats, rounding = np.zeros(pixels), np.zeros(pixels)
    fallbacks = 0
    for pixel in range(pixels):
        while True:
            try:
                p, l, nats[pixel], rounding[pixel], fallback = draw_likelihood(pixel, channels, nr_mix)
                break
            except Redraw:
                pass
        params[pixel], levels[pixel] = p, l
        fallbacks += fallback
    # Both edges, and enough of the density fallback.
    assert pixels < 100 or (np.any(levels == 0) and np.any(levels == 255) and fallbacks > pixels / 10)
    return {
        "numbers": np.array([channels, nr_mix], np.int64),
        "params": params,
        "levels": levels.astype(np.uint8),
        "nats": nats,
        "rounding": rounding,
    }


def draw_likelihood(pixel, channels, nr_mix):
    levels = rng.integers(0, 256, channels)
    edge = rng.random(channels) < 0.3
    levels = np.where(edge, rng.choice([0, 255], channels), levels)
    params = rng.standard_normal(count_of(channels, nr_mix)).astype(np.float32)
    rest = params[nr_mix:].reshape(channels, -1, nr_mix)
    rest[:, 0] = rng.uniform(-1.2, 1.2, rest[:, 0].shape)
    # Every third pixel is sharp (under the floor at times): its bins are certain or hopeless.
    low, high = (-9, -4) if pixel % 3 == 0 else (-4, 1)
    rest[:, 1] = rng.uniform(low, high, rest[:, 1].shape)
    p = params.astype(np.float64)
    means, log_scales, coefficients = parts(p, channels, nr_mix)
    x = grid(levels.astype(np.float64))
    logits = p[:nr_mix]
    terms, change, fallback = logits.copy(), np.zeros(nr_mix), False
    for channel in range(channels):
        mean = means[channel] + (linear(coefficients, channel, x) if channel else 0.0)
        value, rounded, fell = log_bins(x[channel], mean, log_scales[channel])
        terms += value
        change += rounded
        fallback = fallback or bool(np.any(fell))
    nats = log_sum_exp(terms) - log_sum_exp(logits)
    weights = np.exp(terms - log_sum_exp(terms))
    return params, levels, nats, weights @ change, fallback


outputs = [
    # Mixtures, channels and batches; a depth that is a multiple of nothing.
    output(2, 3, 1, 3, 1, 7),
    output(2, 3, 3, 1, 1, 13),
    output(1, 3, 17, 3, 3, 5),
    output(3, 2, 3, 1, 3, 37),
    output(2, 2, 3, 3, 10, 23),
    output(1, 2, 17, 1, 10, 1),
    output(1, 2, 1, 3, 10, 321),
    # More components than a warp has lanes; more groups of four parameters than threads.
    output(1, 2, 3, 1, 45, 11),
    output(1, 1, 1, 3, 103, 6),
    # Not rounded; warmer and colder.
    output(2, 3, 3, 3, 10, 19, continuous=True),
    output(2, 3, 3, 1, 3, 9, continuous=True, temperature=0.5),
    output(2, 3, 1, 3, 5, 9, temperature=1.7),
    # Given: nothing, a row, all; up to the middle of a row, of a pixel, and one pixel less than all.
    output(2, 3, 3, 3, 3, 10, given=[0, 9, 18]),
    output(2, 3, 3, 3, 3, 10, continuous=True, given=[6, 8, 15]),
    output(2, 3, 3, 1, 10, 10, given=[1, 3, 5]),
]
likelihoods = [
    likelihood(pixels, channels, nr_mix)
    for pixels, channels, nr_mix in [
        (1, 3, 1),
        (3, 1, 1),
        (17, 3, 3),
        (127, 1, 3),
        (129, 3, 10),
        (300, 1, 10),
        (257, 3, 1),
        (128, 3, 7),
    ]
]


def save(name, cases):
    arrays = {f"{n}/{key}": array for n, case in enumerate(cases) for key, array in case.items()}
    np.savez_compressed(Path(__file__).with_name(name), **arrays)


save("output.npz", outputs)
save("likelihood.npz", likelihoods)
