"""Makes output.npz and likelihood.npz: the end of a stage of a pixel and the log-likelihood in
float64, for awkward shapes, from float32 inputs.

    python3 make_output.py        (NumPy only)

output.npz, arrays of case N named N/...: `numbers` (rows, columns, batch, channels of the stage,
classes or components, whether samples stay unrounded, kind, encoding, codes, whether there is a channel of
ones, channels of the table, channels of the image before this stage, first draw, channels of the image,
classes of images or 0, then the depth of each tap), `limit` of scaled values, `temperature`, `seed` and `index`
[batch] as pairs of 32-bit words (low, high), `source` [rows, columns, batch, depth] of all taps one after the
other, `weights` [depth, count], `bias` [classes, count], `class` [batch], `table` of an embedding, `prefix`
[batch, rows * columns, channels of the image] values, `prefix_rows` [batch]; `params` [batch, rows * columns,
count], `values` [batch, rows * columns, channels], `input` [batch, rows * columns, channels of the input tensor]
are the results (`params` rounded to float32 in the end), `filled` is the input of the values of `prefix`.

likelihood.npz, likewise: `numbers` (kind, stages, channels, components, codes, encoding), `limit`, `params`
[pixels, stages * count], `values` [pixels, stages * channels]; `nats` [pixels] is the result, `rounding`
[pixels] how much of it float32 can change where a bin's probability is the difference of two nearly equal
numbers, or the bin is far from the mean.

Mixtures also have `mixture` (components, channels, parameters, then the places and links of mixture.py) and
`bounds`.

Cases are drawn until no decision (component, class, code, which branch of the likelihood) is closer
than a stated margin: float32 may decide those either way.
"""

from pathlib import Path

import numpy as np

from mixture import EXACT, EXP, IDENTITY, INVERSE_SOFTPLUS, ORIGINAL, TANH, Redraw
from mixture import by_component, interleaved, original, value

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


def words(seed, image, pixel, first, count):
    """Random words `first` to `first + count - 1` of a pixel."""
    words = []
    for draw in range((first + count + 3) // 4):
        words += philox([image[0], pixel, draw, image[1]], seed)
    return words[first : first + count]


def upper(words):
    return np.array([int(word) >> 8 for word in words], np.float64) / 2**24


def inner_uniforms(words):
    """The float32 numbers in [1e-5, 1 - 1e-5] that they are."""
    least = np.float32(1e-5)
    span = np.float32(1) - np.float32(2) * least
    return np.float64(np.float32(upper(words) * np.float64(span) + np.float64(least)))


# --- draws ---


def rounded(x, codes, limit):
    """The values of the nearest codes."""
    code = (x / limit + 1) * (codes - 1) / 2
    if np.any(np.abs(code - np.floor(code) - 0.5) < 1e-3):
        raise Redraw
    return value(codes, np.round(code), limit)


def sample_classes(params, words, channels, classes, temperature):
    drawn = np.zeros(channels)
    for channel, u in enumerate(upper(words)):
        logits = params[channel * classes :][:classes] / temperature
        weights = np.exp(logits - logits.max())
        cumulative = np.cumsum(weights) / weights.sum()
        if np.min(np.abs(cumulative[:-1] - u)) < 1e-5:
            raise Redraw
        drawn[channel] = np.searchsorted(cumulative, u, side="right")
    return drawn


MIXTURE, CATEGORICAL = range(2)
SCALED, ONE_HOT, EMBEDDING = range(3)


def encoded(encoding, values, codes, ones, table):
    """Values [..., channels] as the channels of an input tensor."""
    if encoding == SCALED:
        return np.concatenate([values, np.ones((*values.shape[:-1], 1))], -1) if ones else values
    classes = values.astype(np.int64)
    rows = np.eye(codes)[classes] if encoding == ONE_HOT else table.astype(np.float64)[classes]
    return rows.reshape(*values.shape[:-1], -1)


def output(*arguments, **more):
    """`prefix`: rows given per image. `first`: channels of the image and draws of the pixel before this
    stage; `after`: channels of the image after it."""
    while True:
        try:
            return draw_output(*arguments, **more)
        except Redraw:
            pass


def draw_output(
    rows,
    columns,
    batch,
    channels,
    components,
    depths,
    temperature=1.0,
    continuous=False,
    prefix=None,
    kind=MIXTURE,
    encoding=SCALED,
    codes=256,
    ones=True,
    first=0,
    first_draw=0,
    after=0,
    classes=0,
    mixture=None,
    limit=1.0,
    between=False,
):
    """`between`: given values are not those of codes."""
    if kind == MIXTURE:
        mixture = mixture or original(components, channels)
    count = mixture.count if kind == MIXTURE else channels * components
    pixels = rows * columns
    depths = [depths] if isinstance(depths, int) else depths
    depth = sum(depths)
    source = rng.standard_normal((rows, columns, batch, depth)).astype(np.float32)
    size = 0.6 if kind == MIXTURE else 2.0
    weights = (size * rng.standard_normal((depth, count)) / np.sqrt(depth)).astype(np.float32)
    bias = (0.5 * rng.standard_normal((max(classes, 1), count))).astype(np.float32)
    label = rng.integers(0, max(classes, 1), batch)
    if kind == MIXTURE:
        # Scales about a tenth, so that not every value is clipped.
        bias[:, mixture.scales] += 10.0 if mixture.scale_link == INVERSE_SOFTPLUS else -2.5
    temperature = np.float32(temperature)
    seed = rng.integers(0, 2**32, 2)
    index = rng.integers(0, 2**32, (batch, 2))
    table_channels = 5
    table = rng.standard_normal((codes, table_channels)).astype(np.float32)
    image_channels = first + channels + after
    given = rng.integers(0, codes, (batch, pixels, image_channels))
    given[:, ::2] = rng.choice([0, codes - 1], given[:, ::2].shape)
    if encoding == SCALED:
        given = value(codes, given.astype(np.float64), limit)
    if between:
        given = rng.uniform(-limit, limit, given.shape)
    given = given.astype(np.float32)
    own = given[:, :, first : first + channels].astype(np.float64)
    prefix_rows = np.array(prefix if prefix else [0] * batch)
    params = np.einsum("rcbk,kp->brcp", source.astype(np.float64), weights.astype(np.float64))
    params = params.reshape(batch, pixels, count) + bias.astype(np.float64)[label][:, None]
    values = np.zeros((batch, pixels, channels))
    draws = components + channels if kind == MIXTURE else channels
    for image in range(batch):
        for pixel in range(pixels):
            if pixel // columns < prefix_rows[image]:
                values[image, pixel] = own[image, pixel]
                continue
            of_pixel = params[image, pixel]
            random = words(seed, index[image], pixel, first_draw, draws)
            if kind == MIXTURE:
                x = mixture.sample(of_pixel, inner_uniforms(random), np.float64(temperature), limit)
                values[image, pixel] = x if continuous else rounded(x, codes, limit)
            else:
                drawn = sample_classes(of_pixel, random, channels, components, np.float64(temperature))
                values[image, pixel] = value(codes, drawn, limit) if encoding == SCALED else drawn
    if kind == MIXTURE and pixels > 1 and np.mean(np.abs(values) == limit) > 0.6:  # given edges and clipped samples
        raise Redraw
    numbers = [rows, columns, batch, channels, components, continuous, kind, encoding, codes, ones]
    numbers += [table_channels, first, first_draw, image_channels, classes, *depths]
    return {
        "numbers": np.array(numbers, np.int64),
        "limit": np.array([limit], np.float32),
        "temperature": np.array([temperature], np.float32),
        "seed": seed.astype(np.int64),
        "index": index.astype(np.int64),
        "source": source,
        "weights": weights,
        "bias": bias,
        "class": label.astype(np.int64),
        "table": table if encoding == EMBEDDING else np.zeros(1, np.float32),
        "prefix": given,
        "prefix_rows": prefix_rows.astype(np.int64),
        "params": params.astype(np.float32),
        "values": values,
        "input": encoded(encoding, values, codes, ones, table),
        "filled": encoded(encoding, own, codes, ones, table),
    } | (mixture.arrays() if kind == MIXTURE else {})


# --- the likelihood ---


def log_sum_exp(values):
    largest = values.max(-1, keepdims=True)
    return (largest + np.log(np.exp(values - largest).sum(-1, keepdims=True)))[..., 0]


def likelihood(
    pixels,
    channels,
    components,
    kind=MIXTURE,
    stages=1,
    codes=256,
    encoding=None,
    mixture=None,
    limit=1.0,
    between=False,
):
    """`between`: values are not those of codes."""
    if kind == MIXTURE:
        mixture = mixture or original(components, channels)
    encoding = encoding if encoding is not None else SCALED if kind == MIXTURE else ONE_HOT
    count = mixture.count if kind == MIXTURE else channels * components
    params = np.zeros((pixels, stages, count), np.float32)
    given = np.zeros((pixels, stages, channels), np.float32)
    nats, rounding = np.zeros(pixels), np.zeros(pixels)
    fallbacks = 0
    for pixel in range(pixels):
        for stage in range(stages):
            while True:
                try:
                    if kind == MIXTURE:
                        drawn = draw_likelihood(pixel, mixture, codes, limit, between)
                    else:
                        drawn = draw_log_softmax(channels, components, encoding, limit)
                    break
                except Redraw:
                    pass
            params[pixel, stage], given[pixel, stage] = drawn[:2]
            nats[pixel] += drawn[2]
            rounding[pixel] += drawn[3]
            fallbacks += drawn[4]
    # Both edges, and enough of the density fallback.
    edges = np.any(given == -limit) and np.any(given == limit)
    usual = kind == MIXTURE and codes == 256 and mixture.bins == ORIGINAL
    assert pixels < 100 or not usual or (edges and fallbacks > pixels / 10)
    return {
        "numbers": np.array([kind, stages, channels, components, codes, encoding], np.int64),
        "limit": np.array([limit], np.float32),
        "params": params.reshape(pixels, -1),
        "values": given.reshape(pixels, -1),
        "nats": nats,
        "rounding": rounding,
    } | (mixture.arrays() if kind == MIXTURE else {})


def draw_log_softmax(channels, classes, encoding, limit):
    codes = rng.integers(0, classes, channels)
    params = (3 * rng.standard_normal(channels * classes)).astype(np.float32)
    logits = params.astype(np.float64).reshape(channels, classes)
    nats = (logits[np.arange(channels), codes] - log_sum_exp(logits)).sum()
    return params, value(classes, codes, limit) if encoding == SCALED else codes, nats, 0.0, False


def draw_likelihood(pixel, mixture, codes, limit, between):
    channels, mixtures = mixture.channels, mixture.mixtures
    given = rng.integers(0, codes, channels)
    edge = rng.random(channels) < 0.3
    given = np.where(edge, rng.choice([0, codes - 1], channels), given)
    params = rng.standard_normal(mixture.count).astype(np.float32)
    params[mixture.means] = rng.uniform(-1.2, 1.2, mixture.means.shape) * limit
    # Every third pixel is sharp (under the floor at times): its bins are certain or hopeless.
    low, high = (-9, -4) if pixel % 3 == 0 else (-4, 1)
    raw = rng.uniform(low, high, mixture.scales.shape)
    params[mixture.scales] = raw if mixture.scale_link == EXP else mixture.raw_of(np.exp(raw))
    p = params.astype(np.float64)
    x = value(codes, given.astype(np.float64), limit)
    if between:
        x = np.where(edge, x, rng.uniform(-limit, limit, channels))
    x = x.astype(np.float32).astype(np.float64)
    logits = p[mixture.logits]
    terms, change, fallback = logits.copy(), np.zeros(mixtures), False
    for channel in range(channels):
        mean = p[mixture.means[channel]] + mixture.linear(p, channel, x)
        scale = mixture.scale_of(p[mixture.scales[channel]], False)
        log_bin, rounded, fell = mixture.log_bins(x[channel], codes, limit, mean, scale)
        terms += log_bin
        change += rounded
        fallback = fallback or bool(np.any(fell))
    nats = log_sum_exp(terms) - log_sum_exp(logits)
    weights = np.exp(terms - log_sum_exp(terms))
    return params, x, nats, weights @ change, fallback


INVERSE = {"scale_link": INVERSE_SOFTPLUS, "bounds": (4.0, 4.0), "coefficient_link": IDENTITY, "bins": EXACT}
EXACT_TANH = {"coefficient_link": TANH, "bins": EXACT}
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
    # Given: nothing, some rows, all.
    output(2, 3, 3, 3, 3, 10, prefix=[0, 1, 2]),
    output(2, 3, 3, 3, 3, 10, continuous=True, prefix=[0, 2, 1]),
    output(3, 2, 4, 1, 10, 10, prefix=[0, 1, 3, 2]),
    # Other numbers of channels, beyond a warp's lanes too, and of codes; no ones.
    output(2, 2, 3, 2, 3, 9),
    output(2, 2, 3, 4, 5, 9, ones=False),
    output(1, 2, 2, 5, 2, 9, codes=16, ones=False),
    output(1, 1, 2, 37, 2, 5),
    # A stage of several; several taps; class terms.
    output(2, 2, 3, 1, 3, [5, 8], first=2, first_draw=9, after=1, prefix=[0, 1, 0]),
    output(2, 2, 5, 3, 3, [1, 2, 3], classes=4),
    output(1, 2, 2, 1, 2, [2] * 11, classes=2),
    # Classes: few and many, from scaled, one-hot and embedded values.
    output(2, 3, 3, 1, 5, 7, kind=CATEGORICAL, encoding=ONE_HOT, codes=5),
    output(2, 2, 2, 3, 37, 9, kind=CATEGORICAL, encoding=ONE_HOT, codes=37, prefix=[0, 1]),
    output(2, 2, 3, 2, 64, 9, kind=CATEGORICAL, encoding=EMBEDDING, codes=64, prefix=[0, 2, 1]),
    output(2, 2, 3, 3, 256, 12, kind=CATEGORICAL, codes=256, temperature=0.8),
    output(2, 2, 2, 1, 20, 6, kind=CATEGORICAL, encoding=EMBEDDING, codes=20, first=1, first_draw=5, after=1, classes=3),
    output(1, 2, 2, 11, 3, 6, kind=CATEGORICAL, encoding=ONE_HOT, codes=3),
    # More parameters than shared memory holds.
    output(2, 1, 2, 2, 6500, 1, kind=CATEGORICAL, encoding=EMBEDDING, codes=6500, prefix=[0, 1], temperature=0.5),
]
likelihoods = [
    likelihood(pixels, channels, mixtures)
    for pixels, channels, mixtures in [
        (1, 3, 1),
        (3, 1, 1),
        (17, 3, 3),
        (127, 1, 3),
        (129, 3, 10),
        (300, 1, 10),
        (257, 3, 1),
        (128, 3, 7),
        (100, 2, 3),
        (100, 4, 5),
        (20, 5, 2),
    ]
] + [
    likelihood(100, 1, 3, stages=3),
    likelihood(130, 2, 3, codes=16),
    likelihood(130, 1, 5, kind=CATEGORICAL, codes=5),
    likelihood(40, 3, 37, kind=CATEGORICAL, codes=37),
    likelihood(20, 2, 256, kind=CATEGORICAL, stages=2),
]
outputs += [
    # Mixtures of other dialects: places, links, limits, two floors; given values that are no codes.
    output(2, 2, 3, 3, 10, 9, mixture=by_component(10, 3), prefix=[0, 1, 0], between=True),
    output(2, 3, 2, 2, 5, 7, mixture=interleaved(5, 2, **INVERSE), limit=0.5, ones=False, continuous=True),
    output(1, 3, 3, 1, 10, 5, mixture=original(10, 1, bounds=(-2, -9)), limit=0.5, codes=100, temperature=0.7),
    output(2, 2, 2, 4, 3, 6, mixture=interleaved(3, 4, scale_link=EXP, bounds=(-np.inf, -7), **EXACT_TANH), limit=3.0),
    output(2, 2, 2, 2, 9, 6, kind=CATEGORICAL, codes=9, limit=0.25, prefix=[1, 0]),
]
likelihoods += [
    # Other dialects, and values that are no codes.
    likelihood(30, 3, 10, mixture=by_component(10, 3)),
    likelihood(30, 2, 5, mixture=interleaved(5, 2, **INVERSE), limit=0.5, between=True),
    likelihood(30, 1, 3, mixture=original(3, 1, bounds=(-7, -5)), limit=0.5, between=True),
    likelihood(30, 4, 3, mixture=interleaved(3, 4, scale_link=EXP, bounds=(-7, -6), **EXACT_TANH), limit=3.0, codes=30),
    likelihood(30, 3, 4, between=True),
    likelihood(20, 2, 9, kind=CATEGORICAL, codes=9, encoding=SCALED, limit=0.25),
]


def save(name, cases):
    arrays = {f"{n}/{key}": array for n, case in enumerate(cases) for key, array in case.items()}
    np.savez_compressed(Path(__file__).with_name(name), **arrays)


save("output.npz", outputs)
save("likelihood.npz", likelihoods)
