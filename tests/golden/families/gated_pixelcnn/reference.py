"""Both originals of the Gated PixelCNN restated in NumPy, in float64, with channels that see each other
within the pixel.

    python3 reference.py         checks every folder beside this file against the restatement
    python3 reference.py make    makes rgb_groups/ anew (NumPy only)

The dumps of `vqvae`, `uva` and `uva_rgb` come from the originals: see README.md.
"""

import json
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
TUTORIAL = [1, 2, 1, 4, 1, 2, 1]


class Anything:
    """Stands for whatever classes a pickle names beside tensors."""

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, _):
        pass

    def __setitem__(self, *_):
        pass


class Tensor:
    """A view of a storage whose bytes may come later."""

    def __init__(self, storage, offset, shape, strides, *_):
        self.place = storage, offset, shape, strides

    def read(self, storages):
        key, offset, shape, strides = self.place
        flat = np.frombuffer(storages[key], "<f4")[offset:]
        strides = [4 * stride for stride in strides]
        return np.lib.stride_tricks.as_strided(flat, shape, strides).astype(np.float64)


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if name == "_rebuild_tensor_v2":
            return Tensor
        if name == "OrderedDict":
            return OrderedDict
        return Anything

    def persistent_load(self, place):
        return place[2]


def tensors(path):
    """The state dict of a PyTorch file, or the tensors of a safetensors file, in float64."""
    if path.suffix == ".safetensors":
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        found = {}
        for name, entry in json.loads(data[8 : 8 + length]).items():
            first, end = (8 + length + at for at in entry["data_offsets"])
            values = np.frombuffer(data[first:end], "<f4")
            found[name] = values.reshape(entry["shape"]).astype(np.float64)
        return found
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        root = Unpickler(archive.open(member)).load()
        folder = member[: -len("data.pkl")] + "data/"
        names = [name for name in archive.namelist() if name.startswith(folder)]
        storages = {name[len(folder) :]: archive.read(name) for name in names}
    else:
        file = path.open("rb")
        _magic, _version, _system, root, keys = (Unpickler(file).load() for _ in range(5))
        storages = {}
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            storages[key] = file.read(4 * count)
    state = root.get("state_dict", root)
    return {n: t.read(storages) for n, t in state.items() if isinstance(t, Tensor)}


def shifted(x, down, right):
    """x moved down and to the right, zeros where nothing comes from."""
    height, width = x.shape[1:3]
    y = np.zeros_like(x)
    if down < height and abs(right) < width:
        columns = slice(max(0, right), width + min(0, right))
        taken = slice(max(0, -right), width - max(0, right))
        y[:, down:, columns] = x[:, : height - down, taken]
    return y


def conv(p, name, x, taps):
    """A convolution of which only the taps (row, column, down, right, mask) are used; a mask is
    `[out, in]` or none."""
    weight, bias = p[name + ".weight"], p[name + ".bias"]
    y = np.zeros(x.shape[:3] + bias.shape) + bias
    for row, column, down, right, mask in taps:
        w = weight[:, :, row, column]
        y += shifted(x, down, right) @ (w if mask is None else np.where(mask, w, 0)).T
    return y


def vertical(kernel, dilation, first):
    """Rows above and, but for the first convolution, the current one."""
    r = kernel // 2
    return [
        (i, j, dilation * (r - i), dilation * (r - j), None)
        for i in range(r + (not first))
        for j in range(kernel)
    ]


def horizontal(kernel, dilation, centre):
    """Pixels to the left and, under a mask or `None` for all of it, the current one."""
    r = kernel // 2
    left = [(0, j, 0, dilation * (r - j), None) for j in range(r)]
    return left if centre is False else left + [(0, r, 0, 0, centre)]


def one(mask=None):
    return [(0, 0, 0, 0, mask)]


def gate(x):
    a, b = np.split(x, 2, axis=-1)
    return np.tanh(a) / (1 + np.exp(-b))


def vqvae(p, x, labels):
    """Logits (N, H, W, 1, K) of codes x (N, H, W, 1)."""
    v = h = p["embedding.weight"][x[..., 0]]
    layer = 0
    while f"layers.{layer}.vert_stack.weight" in p:
        at, first = f"layers.{layer}.", layer == 0
        kernel = p[at + "vert_stack.weight"].shape[3]
        term = p[at + "class_cond_embedding.weight"][labels][:, None, None]
        features = conv(p, at + "vert_stack", v, vertical(kernel, 1, first))
        centre = False if first else None
        left = conv(p, at + "horiz_stack", h, horizontal(kernel, 1, centre))
        v = gate(features + term)
        gated = gate(left + conv(p, at + "vert_to_horiz", features, one()) + term)
        new = conv(p, at + "horiz_resid", gated, one())
        h = new if first else h + new
        layer += 1
    hidden = np.maximum(conv(p, "output_conv.0", h, one()), 0)
    return conv(p, "output_conv.2", hidden, one())[..., None, :]


def uva(p, x, dilations=TUTORIAL, rgb_groups=False):
    """Logits (N, H, W, C, 256) of 8-bit pixels x (N, H, W, C).

    With `rgb_groups`, the features of the horizontal stack are C groups of equal size, those of each
    half of a gate too: at the current pixel, an output of group g sees channels before g in the
    first convolution, and features of the groups up to g in all others, the last one included.
    """
    channels = x.shape[-1]
    dim = p["conv_vstack.conv.weight"].shape[0]
    group = np.arange(dim) // (dim // channels)
    if rgb_groups:
        twice = np.concatenate([group, group])
        before = group[:, None] > np.arange(channels)
        in_gate, after_gate = twice[:, None] >= group, group[:, None] >= group
        # Output `class * C + channel` is of that channel's group.
        output = np.arange(256 * channels)[:, None] % channels >= group
    else:
        before, in_gate, after_gate, output = False, None, None, None
    image = x / 255 * 2 - 1
    v = conv(p, "conv_vstack.conv", image, vertical(3, 1, True))
    h = conv(p, "conv_hstack.conv", image, horizontal(3, 1, before))
    for layer, dilation in enumerate(dilations):
        at = f"conv_layers.{layer}."
        features = conv(p, at + "conv_vert.conv", v, vertical(3, dilation, False))
        left = conv(p, at + "conv_horiz.conv", h, horizontal(3, dilation, in_gate))
        gated = gate(left + conv(p, at + "conv_vert_to_horiz", features, one()))
        v = gate(features)
        h = h + conv(p, at + "conv_horiz_1x1", gated, one(after_gate))
    elu = np.where(h > 0, h, np.expm1(np.minimum(h, 0)))
    logits = conv(p, "conv_out", elu, one(output))
    return np.swapaxes(logits.reshape(x.shape[:3] + (256, channels)), -1, -2)


def probabilities(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def nll(logits, x):
    return -np.log(np.take_along_axis(probabilities(logits), x[..., None].astype(int), -1)[..., 0])


def generate(network, kept, first_row, choose):
    """Values in raster order, channel by channel, each from a whole evaluation."""
    x = np.zeros_like(kept)
    x[:, :first_row] = kept[:, :first_row]
    for row in range(first_row, x.shape[1]):
        for column in range(x.shape[2]):
            for channel in range(x.shape[3]):
                at = (slice(None), row, column, channel)
                x[at] = choose(network(x)[at], at)
    return x


def greedy(logits, _at):
    return logits.argmax(-1)


def inverse(u):
    """The first class whose cumulative probability exceeds u."""
    return lambda logits, at: (probabilities(logits).cumsum(-1) > u[at][:, None]).argmax(-1)


def check(folder, network, io):
    logits = network(io["x"])
    print(
        folder,
        "logits", abs(logits - io["logits"]).max(),
        "nll", abs(nll(logits, io["x"]) - io["nll"]).max(),
    )
    rows = io["x"].shape[1]
    assert (generate(network, io["x"], 0, greedy) == io["greedy"]).all()
    assert (generate(network, io["x"], 0, inverse(io["u"])) == io["sampled"]).all()
    if "completed" in io:
        assert (generate(network, io["x"], rows // 2, greedy) == io["completed"]).all()


def random_model(rng, channels, dim, blocks):
    """Weights under the tutorial's names; what masks cover is not zero."""
    shapes = {"conv_vstack.conv": (dim, channels, 3, 3), "conv_hstack.conv": (dim, channels, 1, 3)}
    for block in range(blocks):
        at = f"conv_layers.{block}."
        shapes[at + "conv_vert.conv"] = (2 * dim, dim, 3, 3)
        shapes[at + "conv_horiz.conv"] = (2 * dim, dim, 1, 3)
        shapes[at + "conv_vert_to_horiz"] = (2 * dim, 2 * dim, 1, 1)
        shapes[at + "conv_horiz_1x1"] = (dim, dim, 1, 1)
    shapes["conv_out"] = (256 * channels, dim, 1, 1)
    found = {}
    for name, shape in shapes.items():
        scale = 1.2 / np.sqrt(np.prod(shape[1:]))
        found[name + ".weight"] = rng.normal(scale=scale, size=shape).astype(np.float32)
        found[name + ".bias"] = rng.normal(scale=0.2, size=shape[0]).astype(np.float32)
    return found


def save(path, found):
    header, data = {}, b""
    for name, values in found.items():
        end = len(data) + values.nbytes
        header[name] = {
            "dtype": "F32",
            "shape": list(values.shape),
            "data_offsets": [len(data), end],
        }
        data += values.tobytes()
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


# Of rgb_groups: dilations, and the least distance of a uniform from a step of the cumulative
# probabilities and of the largest logit from the next, so that float32 decides alike.
GROUPS_DILATIONS = [1, 2, 1]
LEAST_GAP = 2e-4


def make():
    rng = np.random.default_rng(1606)
    folder = HERE / "rgb_groups"
    found = random_model(rng, 3, 9, len(GROUPS_DILATIONS))
    save(folder / "model.safetensors", found)
    p = {name: values.astype(np.float64) for name, values in found.items()}
    network = lambda x: uva(p, x, GROUPS_DILATIONS, True)
    x = rng.integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
    u = np.zeros(x.shape)

    def drawn(logits, at):
        cumulative = probabilities(logits).cumsum(-1)
        draws = rng.uniform(size=(1000, len(logits)))
        gaps = abs(cumulative - draws[..., None]).min(-1)
        fits = (gaps > LEAST_GAP).argmax(0)
        u[at] = draws[fits, range(len(logits))]
        return inverse(u)(logits, at)

    def clear(logits, at):
        best = np.sort(logits, -1)
        assert (best[:, -1] - best[:, -2]).min() > LEAST_GAP, "another seed"
        return greedy(logits, at)

    sampled = generate(network, x, 0, drawn)
    assert (generate(network, x, 0, inverse(u)) == sampled).all()
    logits = network(x)
    np.savez_compressed(
        folder / "io.npz",
        x=x,
        logits=logits.astype(np.float32),
        nll=nll(logits, x),
        u=u,
        greedy=generate(network, x, 0, clear),
        sampled=sampled,
        completed=generate(network, x, x.shape[1] // 2, clear),
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["make"]:
        make()
    for folder, file, network in [
        ("vqvae", "model_legacy.pt", None),
        ("uva", "PixelCNN.ckpt", uva),
        ("uva_rgb", "model.pt", uva),
        ("rgb_groups", "model.safetensors", lambda p, x: uva(p, x, GROUPS_DILATIONS, True)),
    ]:
        p, io = tensors(HERE / folder / file), np.load(HERE / folder / "io.npz")
        if network is None:
            check(folder, lambda x: vqvae(p, x, io["labels"]), io)
        else:
            check(folder, lambda x: network(p, x), io)
