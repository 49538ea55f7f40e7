"""PixelCNN++ and its dialects in float64, from what is written about them and not from anybody's code: the network,
its heads, and what files call its layers. make.py checks it against the originals (NumPy only)."""

import sys

import numpy as np

EPSILON = 0.0009118819725699723  # exp(-7) in float32


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def softplus(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


ACTIVATIONS = {
    "concat_elu": lambda x: elu(np.concatenate([x, -x], -1)),
    "elu": elu,
    "relu": lambda x: np.maximum(x, 0),
}

ORIGINAL = dict(
    levels=3, resnets=1, ones=True, field=(3, 3), activation="concat_elu", inner=True, late=False, head="original"
)
TFP = dict(ORIGINAL, ones=False, head="tfp")
FLAX = dict(ORIGINAL, inner=False, late=True, head="flax")


# --- the network: layers are asked for in the order in which they are made, by kind ---


class Net:
    """`weights`: {layer: (W, b)} under the original's names; W is [rows, columns, in, out] of what is not masked,
    for deconvolutions [rows, columns, out, in] as the original has it; terms of conditions [in, out]."""

    def __init__(self, kind, weights):
        self.kind, self.weights = kind, weights
        self.rows, self.columns = kind["field"]
        self.activation = ACTIVATIONS[kind["activation"]]

    def layer(self, name):
        number = self.counts.get(name, 0)
        self.counts[name] = number + 1
        return self.weights[f"{name}_{number}"]

    def conv(self, x, stride=1, down=0):
        """Rows up to the current one (`down`: to the one above), columns from half a receptive field left on."""
        weight, bias = self.layer("conv2d")
        rows, columns = weight.shape[:2]
        count, height, width = x.shape[:3]
        top, left = rows - 1 + down, self.columns // 2
        big = np.zeros((count, height + top + rows, width + left + columns, x.shape[3]))
        big[:, top : top + height, left : left + width] = x
        y = np.zeros((count, height // stride, width // stride, weight.shape[3]))
        for i in range(rows):
            for j in range(columns):
                y += big[:, i : i + height : stride, j : j + width : stride] @ weight[i, j]
        if self.kind["ones"] and down:
            bias = np.where(np.arange(height) > 0, 1, 0)[:, None, None] * bias
        return y + bias

    def first_left(self, x):
        weight, bias = self.layer("conv2d")
        rows, columns = weight.shape[:2]
        count, height, width = x.shape[:3]
        big = np.zeros((count, height + 1, width + columns, x.shape[3]))
        big[:, 1:, columns:] = x
        y = sum(
            big[:, i : i + height, j : j + width] @ weight[i, j] for i in range(rows) for j in range(columns)
        )
        if self.kind["ones"]:
            bias = np.where(np.arange(width) > 0, 1, 0)[:, None] * bias
        return y + bias

    def deconv(self, x, dropped):
        weight, bias = self.layer("deconv2d")
        rows, columns, out = weight.shape[:3]
        count, height, width = x.shape[:3]
        big = np.zeros((count, 2 * height + rows, 2 * width + columns, out))
        for i in range(rows):
            for j in range(columns):
                big[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += x @ weight[i, j].T
        return big[:, : 2 * height, dropped : dropped + 2 * width] + bias

    def dense(self, x):
        weight, bias = self.layer("dense")
        return x @ weight + bias

    def block(self, x, aux=None):
        y = self.conv(self.activation(x))
        if aux is not None:
            y = y + self.dense(self.activation(aux))
        y = self.conv(self.activation(y) if self.kind["inner"] or aux is not None else y)
        if self.condition is not None:
            weight, bias = self.layer("conditional_weights")
            y = y + (self.condition @ weight + bias)[:, None, None, :]
        if self.map is not None:
            weight, _ = self.layer("conditional_maps")
            step = self.map.shape[1] // y.shape[1]
            y = y + self.map[:, ::step, ::step] @ weight
        a, b = np.split(y, 2, -1)
        return x + a * sigmoid(b)

    def __call__(self, x, condition=None, map=None):
        self.counts, self.condition, self.map = {}, condition, map
        kind = self.kind
        if kind["ones"]:
            x = np.concatenate([x, np.ones(x.shape[:3] + (1,))], -1)
        u = self.conv(x, down=1)
        ul = self.conv(x, down=1) + self.first_left(x)
        skips = [(u, ul)]
        for level in range(kind["levels"]):
            for _ in range(kind["resnets"]):
                before, u = u, self.block(u)
                ul = self.block(ul, before if kind["late"] else u)
                skips.append((u, ul))
            if level < kind["levels"] - 1:
                u, ul = self.conv(u, 2), self.conv(ul, 2)
                skips.append((u, ul))
        u, ul = skips.pop()
        for level in range(kind["levels"]):
            for _ in range(kind["resnets"] + (level > 0)):
                u_skip, ul_skip = skips.pop()
                u = self.block(u, u_skip)
                ul = self.block(ul, np.concatenate([u, ul_skip], -1))
            if level < kind["levels"] - 1:
                u, ul = self.deconv(u, self.columns // 2), self.deconv(ul, 0)
        return self.dense(elu(ul))


# --- heads: logits [..., M], means [..., C, M], scales [..., C, M], coefficients [..., i from j, M] ---


def split(head, outputs, channels):
    pairs = channels * (channels - 1) // 2
    if head == "tfp":
        per = 1 + 2 * channels + pairs
        parts = np.moveaxis(outputs.reshape(outputs.shape[:-1] + (-1, per)), -1, -2)
        scales = softplus(parts[..., 1 + channels : 1 + 2 * channels, :]) + EPSILON
        return parts[..., 0, :], parts[..., 1 : 1 + channels, :], scales, parts[..., 1 + 2 * channels :, :]
    groups = channels // 2
    mixtures = outputs.shape[-1] // (1 + channels * (2 + groups))
    rest = outputs[..., mixtures:]
    if head == "flax":
        rest = np.moveaxis(rest.reshape(rest.shape[:-1] + (channels, mixtures, 2 + groups)), -1, -2)
        scales = 1 / np.maximum(softplus(rest[..., 1, :]), 1e-7)
    else:
        rest = rest.reshape(rest.shape[:-1] + (channels, 2 + groups, mixtures))
        scales = np.exp(np.maximum(rest[..., 1, :], -7))
    coefficients = np.tanh(rest[..., 2:, :]).reshape(rest.shape[:-3] + (-1, mixtures))[..., :pairs, :]
    return outputs[..., :mixtures], rest[..., 0, :], scales, coefficients


def means_given(means, coefficients, x):
    means, pair = means.copy(), 0
    for i in range(means.shape[-2]):
        for j in range(i):
            means[..., i, :] += coefficients[..., pair, :] * x[..., j, None]
            pair += 1
    return means


def log_prob(head, outputs, x, codes=256):
    """Nats per pixel."""
    logits, means, scales, coefficients = split(head, outputs, x.shape[-1])
    centred = x[..., None] - means_given(means, coefficients, x)
    half = 1 / (codes - 1)
    plus, minus = (centred + half) / scales, (centred - half) / scales
    if head == "original":
        first, last = x < -0.999, x > 0.999
        bin = sigmoid(plus) - sigmoid(minus)
        middle = centred / scales
        density = middle - np.log(scales) - 2 * softplus(middle) + np.log(2 * half)
        inside = np.where(bin > 1e-5, np.log(np.maximum(bin, 1e-12)), density)
    else:
        first, last = x <= -1 + half, x >= 1 - half
        inside = np.log(-np.expm1(-2 * half / scales)) - softplus(-plus) - softplus(minus)
    first, last = first[..., None], last[..., None]
    channels = np.where(first, plus - softplus(plus), np.where(last, -softplus(minus), inside))
    weights = logits - np.logaddexp.reduce(logits, -1)[..., None]
    return np.logaddexp.reduce(weights + channels.sum(-2), -1)


def sample(net, head, u_mix, u_log, condition=None, map=None, rounded=False, codes=256):
    """Pixel by pixel with given draws; `rounded`: each channel before the next one sees it. Returns the values, and
    what they were before they were rounded and clipped."""
    x, raw = np.zeros(u_log.shape), np.zeros(u_log.shape)
    images = np.arange(len(x))
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            outputs = net(x, condition, map)[:, row, column]
            logits, means, scales, coefficients = split(head, outputs, x.shape[-1])
            component = np.argmax(logits - np.log(-np.log(u_mix[:, row, column])), -1)
            for channel in range(x.shape[-1]):
                mean = means_given(means, coefficients, x[:, row, column])[images, channel, component]
                u = u_log[:, row, column, channel]
                value = mean + scales[images, channel, component] * (np.log(u) - np.log1p(-u))
                raw[:, row, column, channel] = value
                if rounded:
                    value = np.round((value + 1) * (codes - 1) / 2) / ((codes - 1) / 2) - 1
                x[:, row, column, channel] = np.clip(value, -1, 1)
    return x, raw


# --- layers in the order in which they are made ---


def layers(kind, channels, filters, outputs, condition=0, map=0):
    """(original's name, place, shape) of every layer; the place is that of Keras' kernels: kind, stack."""
    rows, columns = kind["field"]
    wide = 2 if kind["activation"] == "concat_elu" else 1
    filter = {"u": (rows - 1, columns), "ul": (2, columns // 2 + 1)}
    counts, all = {}, []

    def add(name, place, *shape):
        number = counts.get(name, 0)
        counts[name] = number + 1
        all.append((f"{name}_{number}", place, shape))

    def block(stack, aux):
        add("conv2d", ("conv", stack), *filter[stack], wide * filters, filters)
        if aux:
            add("dense", ("dense", stack), wide * aux * filters, filters)
        inner = wide if kind["inner"] or aux else 1
        add("conv2d", ("conv", stack), *filter[stack], inner * filters, 2 * filters)
        if condition:
            add("conditional_weights", ("condition", stack), condition, 2 * filters)
        if map:
            add("conditional_maps", ("map", stack), map, 2 * filters)

    inputs = channels + kind["ones"]
    add("conv2d", ("first", "u"), *filter["u"], inputs, filters)
    add("conv2d", ("first", "above"), 1, columns, inputs, filters)
    add("conv2d", ("first", "left"), 2, columns // 2, inputs, filters)
    last = kind["levels"] - 1
    for level in range(last + 1):
        for _ in range(kind["resnets"]):
            block("u", 0)
            block("ul", 1)
        if level < last:
            for stack in filter:
                add("conv2d", ("coarser", stack), *filter[stack], filters, filters)
    for level in range(last + 1):
        for _ in range(kind["resnets"] + (level > 0)):
            block("u", 1)
            block("ul", 2)
        if level < last:
            for stack in filter:
                add("deconv2d", ("finer", stack), *filter[stack], filters, filters)
    add("dense", ("dense", "out"), filters, outputs)
    return all


def masked(kind, place, weight):
    """The kernel as Keras stores it: centred, with zeros where the mask is."""
    rows, columns = kind["field"]
    half = columns // 2
    what, stack = place
    sides, first = {
        ("first", "u"): ((2 * rows - 1, columns), (0, 0)),
        ("first", "above"): ((3, columns), (0, 0)),
        ("first", "left"): ((3, columns), (0, 0)),
        ("conv", "u"): ((2 * rows - 3, columns), (0, 0)),
        ("conv", "ul"): ((3, columns), (0, 0)),
        ("coarser", "u"): ((2 * rows - 2, columns + 1), (0, 0)),
        ("coarser", "ul"): ((4, 2 * half + 2), (0, 0)),
        ("finer", "u"): ((2 * rows - 4, columns + 1), (rows - 3, 0)),
        ("finer", "ul"): ((2, 2 * half), (0, half - 1)),
    }[place]
    kernel = np.zeros(sides + weight.shape[2:], weight.dtype)
    kernel[first[0] : first[0] + weight.shape[0], first[1] : first[1] + weight.shape[1]] = weight
    return kernel


def unmasked(kind, place, shape, kernel):
    """The part of a stored kernel that is not masked; the rest must be zero."""
    inside = masked(kind, place, np.ones(shape)) != 0
    assert not kernel[~inside].any(), place
    return kernel[inside].reshape(shape)


def normalised(weight, scale, axis):
    others = tuple(i for i in range(weight.ndim) if i != axis)
    norm = np.sqrt(np.maximum((weight.astype(float) ** 2).sum(others, keepdims=True), 1e-12))
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight / norm * scale.astype(float).reshape(shape)


# --- names in files ---


def flax_paths(kind):
    """The paths of flax' example, by the original's name."""
    paths, counts = {}, {"u": 0, "above": 0, "ul": 0, "left": 0}
    down, right, up_down, up_right, block, inner = 0, 0, 0, 0, -1, 0
    for name, (what, stack), _ in layers(kind, 3, 1, 10):
        if what in ("first", "coarser") and stack in ("u", "above"):
            paths[name] = f"ConvDown_{down}/ConvWeightNorm_0"
            down += 1
        elif what in ("first", "coarser"):
            paths[name] = f"ConvDownRight_{right}/ConvWeightNorm_0"
            right += 1
        elif what == "finer" and stack == "u":
            paths[name] = f"ConvTransposeDown_{up_down}/ConvWeightNorm_0"
            up_down += 1
        elif what == "finer":
            paths[name] = f"ConvTransposeDownRight_{up_right}/ConvWeightNorm_0"
            up_right += 1
        elif what == "conv":
            conv = "ConvDown" if stack == "u" else "ConvDownRight"
            block, inner = (block + 1, 0) if inner != 1 else (block, 2)
            inner = 1 if inner == 0 else 2
            paths[name] = f"GatedResnet_{block}/{conv}_{inner - 1}/ConvWeightNorm_0"
        elif stack == "out":
            paths[name] = "ConvWeightNorm_0"
        else:
            paths[name] = f"GatedResnet_{block}/ConvWeightNorm_0"
    return paths


def keras_class(place, norm):
    if place[0] == "condition":
        return "dense"
    if norm:
        return "weight_norm"
    return {"finer": "conv2d_transpose", "dense": "dense"}.get(place[0], "conv2d")


def keras_order(kind, described, condition):
    """Names of layers in the order of depth. Keras makes a graph of calls; the depth of a layer is the number of steps
    to the outputs, of all of its calls that of the deepest, and layers of one depth are in the order in which a walk from
    the outputs meets them."""
    queues = {}
    for name, place, _ in described:
        queues.setdefault(name.rsplit("_", 1)[0], []).append(name)
    next_of = lambda kind_of_layer: queues[kind_of_layer].pop(0)
    sources, owners = [], []

    def call(owner, *of):
        sources.append(of)
        owners.append(owner if owner is not None else ("once", len(owners)))
        return len(owners) - 1

    shared = "activation" if kind["activation"] == "concat_elu" else None
    act = lambda x: call(shared, x)
    image = call("image")
    given = call("condition") if condition else None

    def block(x, aux=None):
        conv1 = next_of("conv2d")
        y = call(conv1, act(x))
        if aux is not None:
            y = call(None, call(next_of("dense"), act(aux)), y)
        y = call(next_of("conv2d"), call(None, act(y)))
        if given is not None:
            y = call(None, y, call(None, call(next_of("conditional_weights"), call(None, given))))
        halves = call(None, y)
        return call(None, x, call(None, call(None, halves), halves))

    u = call(next_of("conv2d"), image)
    above = call(next_of("conv2d"), image)
    ul = call(None, above, call(next_of("conv2d"), image))
    skips = [(u, ul)]
    last = kind["levels"] - 1
    for level in range(last + 1):
        for _ in range(kind["resnets"]):
            u = block(u)
            ul = block(ul, u)
            skips.append((u, ul))
        if level < last:
            u, ul = call(next_of("conv2d"), u), call(next_of("conv2d"), ul)
            skips.append((u, ul))
    skips.pop()
    for level in range(last + 1):
        for _ in range(kind["resnets"] + (level > 0)):
            u_skip, ul_skip = skips.pop()
            u = block(u, u_skip)
            ul = block(ul, call(None, u, ul_skip))
        if level < last:
            u, ul = call(next_of("deconv2d"), u), call(next_of("deconv2d"), ul)
    parts = call(None, call(None, call(next_of("dense"), call(None, ul))))
    met, seen, finished = {}, set(), []

    def walk(node):
        if node in seen:
            return
        seen.add(node)
        met.setdefault(owners[node], len(met))
        for source in sources[node]:
            walk(source)
        finished.append(node)

    sys.setrecursionlimit(100_000)
    for output in (call(None, parts), parts, call(None, call(None, parts))):
        walk(output)
    of_node, of_layer = {}, {}
    for node in reversed(finished):
        depth = max(of_node.get(node, 0), of_layer.get(owners[node], 0))
        of_node[node] = of_layer[owners[node]] = depth
        for source in sources[node]:
            of_node[source] = max(depth + 1, of_node.get(source, 0))
    order = sorted(of_layer, key=lambda owner: (-of_layer[owner], met[owner]))
    names = {name for name, *_ in described}
    return [owner for owner in order if owner in names]
