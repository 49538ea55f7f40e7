"""Makes the arrays of this folder from dumps of the originals, after checking that reference.py agrees with them.

    python3 make.py DUMPS     (NumPy only)

DUMPS has a folder for each: hawc2_cond, flax, flax_published, tfp/mnist_like, tfp/rgb_cond, with weights as `.npz`,
`meta.json` and what the original made in `io.npz`; README.md says how they were made.

What the originals did not do is from the reference: tfp/variant.npz and tfp/deep.npz, models of TensorFlow
Probability's with other arguments, under the names of Keras' files; maps/model.npz, the original's network with a map
as condition; likelihoods and pictures where an original's are missing.
"""

import json
import sys
from pathlib import Path

import numpy as np

from reference import (
    FLAX,
    ORIGINAL,
    TFP,
    Net,
    flax_paths,
    keras_class,
    keras_order,
    layers,
    log_prob,
    masked,
    normalised,
    sample,
    split,
    unmasked,
)

HERE = Path(__file__).parent

# --- dumps of the originals ---


def close(what, found, expected, tolerance):
    difference = np.abs(found - expected).max()
    print(f"  {what}: {difference:.1e} (spread {np.std(expected):.2g})")
    assert difference <= tolerance, what


def arrays(path):
    return dict(np.load(path))


def hawc(dumps):
    io = arrays(dumps / "io.npz")
    config = json.loads((dumps / "meta.json").read_text())["config"]
    kind = dict(ORIGINAL, resnets=config["nr_resnet"])
    nets = {}
    for which in ("ema", "raw"):
        stored = arrays(dumps / f"weights_{which}.npz")
        nets[which] = Net(kind, from_tensorflow(stored))
        x = io["x_u8"] / 127.5 - 1
        outputs = nets[which](x, io["h"].astype(float))
        close(f"outputs {which}", outputs, io[f"logits_{which}"], 2e-5)
        nats = -log_prob("original", outputs, x).sum((1, 2))
        close(f"nats {which}", nats, io[f"nll_nats_per_image_{which}"], 2e-2)
    draws = io["u_mix"].astype(float), io["u_log"].astype(float)
    x, _ = sample(nets["ema"], "original", *draws, io["h"].astype(float))
    close("pictures", x, io["generated_continuous"], 1e-5)
    # Data of its own are no whole numbers: some, with both edges and what is just within.
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, io["x_u8"].shape).astype(np.float32)
    x[0, 0, :3, 0] = [-1, -0.9985, 0.9985]
    outputs = nets["ema"](x.astype(float), io["h"].astype(float))
    io["x_values"], io["outputs_of_values"] = x, outputs
    io["nats_of_values"] = -log_prob("original", outputs, x.astype(float))
    np.savez_compressed(HERE / "hawc/io.npz", **io)


def from_tensorflow(stored):
    weights = {}
    for name in {name.split("/")[1] for name in stored}:
        of = lambda tensor: stored[f"model/{name}/{tensor}"]
        if name.startswith("conditional"):
            weights[name] = of("hw").astype(float), 0.0
        else:
            axis = 2 if name.startswith("deconv") else of("V").ndim - 1
            weights[name] = normalised(of("V"), of("g"), axis), of("b").astype(float)
    return weights


def flax(dumps):
    io = arrays(dumps / "io.npz")
    config = json.loads((dumps / "meta.json").read_text())["config"]
    kind = dict(FLAX, resnets=config["depth"])
    kept = {name: io[name] for name in ("x_u8", "u_mix", "u_log", "generated")}
    x = io["x_u8"] / 127.5 - 1
    for which in ("ema", "raw"):
        stored = arrays(dumps / f"params_{which}.npz")
        weights = {}
        for name, path in flax_paths(kind).items():
            of = lambda tensor: stored[f"{path}/weightnorm_params/{tensor}"]
            weight = normalised(of("direction"), of("scale"), 3)
            if name.startswith("deconv"):
                weight = weight[::-1, ::-1].transpose(0, 1, 3, 2)
            elif name.startswith("dense"):
                weight = weight[0, 0]
            weights[name] = weight, of("bias").astype(float)
        net = Net(kind, weights)
        outputs = net(x)
        close(f"outputs {which}", outputs, io[f"theta_{which}_f32"], 2e-5)
        nats = log_prob("flax", outputs, x)
        close(f"nats {which}", nats.sum((1, 2)), io[f"log_prob_{which}_f32"], 2e-3)
        # The original was run in float64 with the averages only.
        kept[f"outputs_{which}"] = io.get(f"theta_{which}_f64", outputs)
        kept[f"nats_{which}"] = io.get(f"log_prob_{which}_f64", nats.sum((1, 2)))
        if which == "ema":
            close("outputs", outputs, io["theta_ema_f64"], 1e-12)
            close("nats", nats.sum((1, 2)), io["log_prob_ema_f64"], 1e-11)
            draws = io["u_mix"].astype(float), io["u_log"].astype(float)
            pictures, _ = sample(net, "flax", *draws, rounded=True)
            assert (np.round((pictures + 1) * 127.5) == io["generated"]).all()
    np.savez_compressed(HERE / "flax/io.npz", **kept)


def published(dumps):
    """The paths of the published checkpoints are checked by the tests: here, what the original did not dump."""
    io = arrays(dumps / "io.npz")
    x = io["x_u8"] / 127.5 - 1
    kept = {"x_u8": io["x_u8"], "outputs": io["logits"]}
    kept["nats_per_pixel"] = -log_prob("original", io["logits"].astype(float), x)
    np.savez_compressed(HERE / "flax_published/io.npz", **kept)


# --- TensorFlow Probability ---


def number(name):
    stem, _, digits = name.rpartition("_")
    return (stem, int(digits)) if digits.isdigit() else (name, 0)


def tfp(dumps):
    io = arrays(dumps / "io.npz")
    config = json.loads((dumps / "meta.json").read_text())["config"]
    channels = config["image_shape"][2]
    kind = dict(TFP, levels=config["num_hierarchies"], resnets=config["num_resnet"])
    condition = io["h"].astype(float) if "h" in io else None
    stored = arrays(dumps / "weights.npz")
    names = sorted({name.split("/")[0] for name in stored}, key=number)
    pools = {}
    for name in names:
        pools.setdefault(number(name)[0], []).append(name)
    weights = {}
    outputs = io["out_f32"].shape[-1]
    given = 0 if condition is None else condition.shape[1]
    for name, place, shape in layers(kind, channels, config["num_filters"], outputs, given):
        keras = pools[keras_class(place, True)].pop(0)
        of = lambda tensor: stored[f"{keras}/{tensor}"]
        kernel = of("kernel").astype(float)
        if place[0] != "condition":
            kernel = normalised(kernel, of("g"), 2 if name.startswith("deconv") else kernel.ndim - 1)
        if kernel.ndim == 4:
            kernel = unmasked(kind, place, shape, kernel)
        weights[name] = kernel, of("bias").astype(float)
    net = Net(kind, weights)
    x = io["x"] / 127.5 - 1
    found = net(x, condition)
    close("outputs", found, io["out_f32"], 2e-5)
    # Components before channels there.
    parts = [np.moveaxis(part, -1, 3) for part in split("tfp", found, channels)]
    kept = {name: io[name] for name in ("x", "h", "u_mix", "u_log", "generated", "generated_continuous") if name in io}
    for name, part in zip(("component_logits", "locs", "scales", "coeffs"), parts):
        if f"{name}_f64" in io:
            close(name, part, io[f"{name}_f64"], 1e-13)
            kept[name] = io[f"{name}_f64"]
    kept["out"] = io["out_f32"]
    nats = log_prob("tfp", found, x)
    close("nats per pixel", nats, io["log_prob_per_pixel_f64"], 1e-11)
    kept["log_prob_per_pixel"] = io["log_prob_per_pixel_f64"]
    kept["log_prob"] = io["log_prob_f64"]
    draws = io["u_mix"].astype(float), io["u_log"].astype(float)
    pictures, _ = sample(net, "tfp", *draws, condition)
    close("pictures, in levels", (pictures + 1) * 127.5, io["generated_continuous"], 1e-2)
    np.savez_compressed(HERE / f"tfp/{dumps.name}_io.npz", **kept)


def check_order(dumps):
    meta = json.loads((dumps / "meta.json").read_text())
    config = meta["config"]
    kind = dict(TFP, levels=config["num_hierarchies"], resnets=config["num_resnet"])
    condition = 0 if config["conditional_shape"] is None else 1
    described = layers(kind, config["image_shape"][2], 1, 1, condition)
    order = keras_order(kind, described, condition)
    assert len(meta["layers"]) == len(described)
    for (name, *_), layer in zip(described, meta["layers"]):
        assert layer["checkpoint"] == f"layer_with_weights-{order.index(name)}", layer
    print("  order of depth as in the checkpoint")


def random_weights(rng, described, bias_of_terms=True):
    weights = {}
    for name, place, shape in described:
        fan_in = np.prod(shape) // shape[2 if name.startswith("deconv") else -1]
        weight = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)
        bias = (rng.standard_normal(shape[2 if name.startswith("deconv") else -1]) / 3).astype(np.float32)
        if place[0] in ("condition", "map") and not bias_of_terms:
            bias = np.float32(0)
        weights[name] = weight, bias
    return weights


def away_from_rounding(x, codes):
    level = (x + 1) * (codes - 1) / 2
    inside = (x > -1) & (x < 1)
    return (np.abs(level - np.floor(level) - 0.5)[inside] > 0.01).all()


def variant():
    """Filters of a receptive field of 4x5, relu, no weight norm, four channels of 16 codes, two levels; names of
    `.weights.h5`."""
    rng = np.random.default_rng(3)
    kind = dict(TFP, levels=2, field=(4, 5), activation="relu")
    channels, filters, mixtures, given, codes = 4, 3, 2, 4, 16
    outputs = mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)
    described = layers(kind, channels, filters, outputs, given)
    weights = random_weights(rng, described)
    # A wide head, so that all codes have some probability.
    weights["dense_%d" % (sum(name.startswith("dense") for name, *_ in described) - 1)][0][:] *= 2
    io = write_keras("variant", kind, described, weights, rng, channels, given, codes, (8, 6), by_class=True)
    return io


def deep():
    """Four levels of two blocks, elu, weight norm, two channels, a scalar; names of a checkpoint of objects without the
    names of its variables."""
    rng = np.random.default_rng(4)
    kind = dict(TFP, levels=4, resnets=2, activation="elu")
    channels, filters, mixtures = 2, 2, 1
    outputs = mixtures * (1 + 2 * channels + 1)
    described = layers(kind, channels, filters, outputs, 1)
    weights = random_weights(rng, described)
    return write_keras("deep", kind, described, weights, rng, channels, 1, 256, (8, 16), by_class=False)


def write_keras(file, kind, described, weights, rng, channels, given, codes, size, by_class):
    norm = not by_class
    stored, folded, counts = {}, {}, {}
    order = keras_order(kind, described, given)
    places = {name: place for name, place, _ in described}
    for position, name in enumerate(order):
        place = places[name]
        weight, bias = weights[name]
        axis = 2 if name.startswith("deconv") else weight.ndim - 1
        kernel = masked(kind, place, weight) if weight.ndim == 4 else weight
        has_norm = norm and place[0] != "condition"
        if by_class:
            keras = keras_class(place, norm)
            count = counts.get(keras, 0)
            counts[keras] = count + 1
            prefix = f"layers/private__pixel_cnn_network/_network/layers/{keras}" + (f"_{count}" if count else "")
            stored[f"{prefix}/vars/0"], stored[f"{prefix}/vars/1"] = kernel, bias
            folded[name] = weight.astype(float), bias.astype(float)
            continue
        prefix = f"network/_network/layer_with_weights-{position}"
        end = "/.ATTRIBUTES/VARIABLE_VALUE"
        if has_norm:
            scale = rng.uniform(0.5, 1.5, weight.shape[axis]).astype(np.float32)
            stored[f"{prefix}/v{end}"], stored[f"{prefix}/g{end}"] = kernel, scale
            stored[f"{prefix}/layer/bias{end}"], stored[f"{prefix}/initialized{end}"] = bias, np.array(True)
            folded[name] = normalised(weight, scale, axis), bias.astype(float)
        else:
            stored[f"{prefix}/kernel{end}"], stored[f"{prefix}/bias{end}"] = kernel, bias
            folded[name] = weight.astype(float), bias.astype(float)
    np.savez_compressed(HERE / f"tfp/{file}.npz", **stored)
    net = Net(kind, folded)
    condition = rng.standard_normal((2, given)).astype(np.float32)
    x_codes = rng.integers(0, codes, (2, *size, channels)).astype(np.uint8)
    x_codes[0, 0, :2] = [0], [codes - 1]
    x = 2 * x_codes.astype(float) / (codes - 1) - 1
    outputs = net(x, condition.astype(float))
    io = dict(x=x_codes, h=condition, outputs=outputs, log_prob_per_pixel=log_prob("tfp", outputs, x, codes))
    mixtures = split("tfp", outputs, channels)[0].shape[-1]
    while True:
        u_mix = rng.uniform(0.01, 0.99, (2, *size, mixtures)).astype(np.float32)
        u_log = rng.uniform(0.01, 0.99, (2, *size, channels)).astype(np.float32)
        pictures, _ = sample(net, "tfp", u_mix.astype(float), u_log.astype(float), condition.astype(float))
        if away_from_rounding(pictures, codes):
            break
    io.update(u_mix=u_mix, u_log=u_log, generated_continuous=(pictures + 1) * (codes - 1) / 2)
    np.savez_compressed(HERE / f"tfp/{file}_io.npz", **io)
    print(f"  {file}: {len(stored)} arrays, spread of outputs {outputs.std():.2g}")


def maps():
    """The original's network, conditioned on a vector of two numbers with biases and on a map of three channels."""
    rng = np.random.default_rng(5)
    channels, filters, mixtures, given, map_channels, size = 3, 3, 2, 2, 3, (8, 4)
    described = layers(ORIGINAL, channels, filters, 10 * mixtures, given, map_channels)
    weights = random_weights(rng, described)
    stored = {}
    for name, place, _ in described:
        weight, bias = weights[name]
        stored[name + ("/hw" if place[0] in ("condition", "map") else "/W")] = weight
        if place[0] != "map":
            stored[f"{name}/b"] = bias
    np.savez_compressed(HERE / "maps/model.npz", **stored)
    folded = {name: (weight.astype(float), bias.astype(float)) for name, (weight, bias) in weights.items()}
    net = Net(ORIGINAL, folded)
    condition = rng.standard_normal((2, given)).astype(np.float32)
    map = rng.standard_normal((2, *size, map_channels)).astype(np.float32)
    x_codes = rng.integers(0, 256, (2, *size, channels)).astype(np.uint8)
    outputs = net(x_codes / 127.5 - 1, condition.astype(float), map.astype(float))
    np.savez_compressed(HERE / "maps/io.npz", x=x_codes, h=condition, map=map, outputs=outputs)
    print(f"  maps: spread of outputs {outputs.std():.2g}")


if __name__ == "__main__":
    dumps = Path(sys.argv[1])
    for folder, make in (
        ("hawc2_cond", hawc),
        ("flax", flax),
        ("flax_published", published),
        ("tfp/mnist_like", tfp),
        ("tfp/rgb_cond", tfp),
        ("tfp/mnist_like", check_order),
        ("tfp/rgb_cond", check_order),
    ):
        print(folder)
        make(dumps / folder)
    print("of our own")
    variant()
    deep()
    maps()
