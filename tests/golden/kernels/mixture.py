"""Logistic mixtures over channels in float64, as src/network/mixture.rs describes them: where each
parameter is, and what becomes of it. Used by make_output.py."""

import numpy as np

EXP, SOFTPLUS, INVERSE_SOFTPLUS = range(3)
TANH, IDENTITY = range(2)
ORIGINAL, EXACT = range(2)


class Redraw(Exception):
    """A case that would not tell much, or that float32 may decide otherwise."""


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return np.exp(-softplus(-x))


def value(codes, code, limit=1.0):
    return (code - (codes - 1) / 2) / ((codes - 1) / 2) * limit


class Mixture:
    """`logit`: first, and per component; `mean` and `scale`: first, per component, per channel; `coefficient`:
    first, per component, per slot, per group. `bounds`: the floor of log-scales (of samples, of likelihoods), the
    term added to the softplus, or the floor of inverse scales."""

    def __init__(self, mixtures, channels, places, groups, scale_link, bounds, coefficient_link, bins):
        self.mixtures, self.channels = mixtures, channels
        self.count, self.logit, self.mean, self.scale, self.coefficient = places
        self.groups, self.scale_link, self.bounds = groups, scale_link, np.array(bounds, np.float32).astype(np.float64)
        self.coefficient_link, self.bins = coefficient_link, bins
        mix, channel = np.arange(mixtures), np.arange(channels)[:, None]
        self.logits = self.logit[0] + mix * self.logit[1]
        self.means = self.mean[0] + mix * self.mean[1] + channel * self.mean[2]
        self.scales = self.scale[0] + mix * self.scale[1] + channel * self.scale[2]
        which = np.arange(channels * (channels - 1) // 2)[:, None]
        slot, group = which // groups, which % groups
        first, per_mix, per_slot, per_group = self.coefficient
        self.coefficients = first + mix * per_mix + slot * per_slot + group * per_group

    def arrays(self):
        links = [self.groups, self.scale_link, self.coefficient_link, self.bins]
        places = [*self.logit, *self.mean, *self.scale, *self.coefficient]
        numbers = [self.mixtures, self.channels, self.count, *places, *links]
        return {"mixture": np.array(numbers, np.int64), "bounds": self.bounds.astype(np.float32)}

    def scale_of(self, raw, sampling):
        """Scales from what the network puts out."""
        bound = self.bounds[0 if sampling else 1]
        if self.scale_link == EXP:
            return np.exp(np.maximum(raw, bound))
        if self.scale_link == SOFTPLUS:
            return softplus(raw) + bound
        return 1 / np.maximum(softplus(raw), bound)

    def raw_of(self, scale):
        """What the network would have to put out, but for the bounds."""
        if self.scale_link == EXP:
            return np.log(scale)
        y = scale if self.scale_link == SOFTPLUS else 1 / scale
        return y + np.log(-np.expm1(-y))

    def linear(self, params, channel, x):
        """What the channels before add to the means of a channel, for each component."""
        raw = params[self.coefficients]
        coefficients = np.tanh(raw) if self.coefficient_link == TANH else raw
        first = channel * (channel - 1) // 2
        return sum((coefficients[first + i] * x[i] for i in range(channel)), np.zeros(self.mixtures))

    def sample(self, params, u, temperature, limit):
        """A component and its channels from uniforms, before rounding to codes."""
        scores = params[self.logits] / temperature - np.log(-np.log(u[: self.mixtures]))
        order = np.sort(scores)
        if self.mixtures > 1 and order[-1] - order[-2] < 1e-4:
            raise Redraw
        k = int(np.argmax(scores))
        x = np.zeros(self.channels)
        for channel in range(self.channels):
            v = u[self.mixtures + channel]
            noise = np.log(v) - np.log(1 - v)
            mean = params[self.means[channel, k]] + self.linear(params, channel, x)[k]
            scale = self.scale_of(params[self.scales[channel, k]], True) * temperature
            x[channel] = np.clip(mean + scale * noise, -limit, limit)
        return x

    def log_bins(self, x, codes, limit, mean, scale):
        """Log-probabilities of the bin of a value under each component, by how much rounding to float32 can
        change them, and where the density took their place."""
        half = limit / (codes - 1)
        plus, minus, middle = ((x - mean + by) / scale for by in (half, -half, 0))
        if self.bins == EXACT:
            first, last = x <= -limit + half / 2, x >= limit - half / 2
            # log(F(b) - F(a)) with its digits: log(1 - e^(a - b)) + log F(b) + log F(-a).
            inside = np.log(-np.expm1(-2 * half / scale)) - softplus(-plus) - softplus(minus)
            # Mean and inverse scale are float32.
            change = 2**-22 * (1 + np.abs(x) + np.abs(mean)) / scale
        else:
            if abs(abs(x) - 0.999) < 1e-6:
                raise Redraw
            first, last = x < -0.999, x > 0.999
            bin_ = sigmoid(plus) - sigmoid(minus)
            density = middle - np.log(scale) - 2 * softplus(middle) + np.log(2 * half)
            inside = np.where(bin_ > 1e-5, np.log(np.maximum(bin_, 1e-300)), density)
            # Each sigmoid and their difference are rounded to 24 bits.
            change = np.where(bin_ > 1e-5, 4 * 2**-24 * sigmoid(plus) / np.maximum(bin_, 1e-300), 0.0)
            if first or last:
                change = np.zeros_like(change)
            elif np.any(np.abs(bin_ / 1e-5 - 1) < 0.05):
                raise Redraw
        fell = (self.bins == ORIGINAL) & ~(first | last) & np.less_equal(sigmoid(plus) - sigmoid(minus), 1e-5)
        result = -softplus(-plus) if first else -softplus(minus) if last else inside
        return result, change, fell


def original(mixtures, channels, scale_link=EXP, bounds=(-7, -7), coefficient_link=TANH, bins=ORIGINAL):
    """The layout of PixelCNN++: logits; then per channel means, log-scales, and groups of coefficients."""
    groups = channels // 2
    per_channel = mixtures * (2 + groups)
    places = (
        mixtures + channels * per_channel,
        [0, 1],
        [mixtures, 1, per_channel],
        [2 * mixtures, 1, per_channel],
        [3 * mixtures, 1, per_channel, mixtures],
    )
    return Mixture(mixtures, channels, places, max(groups, 1), scale_link, bounds, coefficient_link, bins)


def by_component(mixtures, channels, scale_link=SOFTPLUS, bounds=(1e-5, 1e-5), coefficient_link=IDENTITY, bins=EXACT):
    """Logits; then means, scales and coefficients, each by component, then by channel or pair, as in TensorFlow
    Probability."""
    pairs = channels * (channels - 1) // 2
    scales = mixtures * (1 + channels)
    places = (
        mixtures * (1 + 2 * channels + pairs),
        [0, 1],
        [mixtures, channels, 1],
        [scales, channels, 1],
        [scales + mixtures * channels, pairs, 1, 0],
    )
    return Mixture(mixtures, channels, places, 1, scale_link, bounds, coefficient_link, bins)


def interleaved(mixtures, channels, unused=3, **more):
    """Everything of a component together; some parameters are not used."""
    pairs = channels * (channels - 1) // 2
    each = 1 + 2 * channels + pairs
    places = (
        mixtures * each + unused,
        [unused + 2 * channels + pairs, each],
        [unused, each, 2],
        [unused + 1, each, 2],
        [unused + 2 * channels, each, 1, 0],
    )
    return Mixture(mixtures, channels, places, 1, **more)
