"""Variants of r9y9/wavenet_vocoder of which there are no dumps, restated in NumPy (float64) from what its sources compute:

older    v0.1.1: biases in the layers of features and speakers, transposed convolutions and ReLU for upsampling, skips halved in
         power as they go (`legacy`) or summed; mixture of logistics, speakers with vectors
stretch  `UpsampleNetwork` without convolution over frames (its context is cut off at the end), LeakyReLU, vectors of features of
         the speaker, folded weights; mu-law classes

Row t of the outputs is step t of generation: its input is sample t - 1, or the initial one.
"""
import json, os
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(8)


def normal(*shape, size=None):
    size = size or 1 / np.sqrt(np.prod(shape[1:]) or 1)
    return (rng.standard_normal(shape) * size).astype('<f4')


def conv(p, name, shape, bias=True, norm=True):
    v = normal(*shape, size=1.3 / np.sqrt(np.prod(shape[1:])))
    if norm:
        p[name + '.weight_v'] = v
        p[name + '.weight_g'] = (np.sqrt((v.astype(float) ** 2).sum(tuple(range(1, v.ndim)), keepdims=True)) * rng.uniform(.7, 1.4, (shape[0],) + (1,) * (v.ndim - 1))).astype('<f4')
    else:
        p[name + '.weight'] = v
    if bias:
        p[name + '.bias'] = normal(shape[0], size=.3)


def fold(p):
    q = {k: v.astype(float) for k, v in p.items() if not k.endswith(('weight_v', 'weight_g'))}
    for k in p:
        if k.endswith('weight_v'):
            v, g = p[k].astype(float), p[k[:-1] + 'g'].astype(float)
            q[k[:-2]] = v * g / np.sqrt((v * v).sum(tuple(range(1, v.ndim)), keepdims=True))
    return q


def transposed(c, w, b, s):
    """ConvTranspose2d of c (frames, mel) with w (freq, s), stride (1, s), padding ((freq - 1) / 2, 0)."""
    freq, pad = w.shape[0], (w.shape[0] - 1) // 2
    out = np.zeros((len(c) * s, c.shape[1])) + b
    for t in range(len(c)):
        for m in range(c.shape[1]):
            for i in range(freq):
                if 0 <= m + i - pad < c.shape[1]:
                    out[t * s:(t + 1) * s, m + i - pad] += c[t, m] * w[i]
    return out


def stretch(c, w, s):
    """Every frame s times, then Conv2d with w (freq, 2 s + 1) and zeros around."""
    c = np.repeat(c, s, 0)
    kf, kt = w.shape
    z = np.pad(c, ((kt // 2,) * 2, (kf // 2,) * 2))
    return sum(w[f, t] * z[t:t + c.shape[0], f:f + c.shape[1]] for f in range(kf) for t in range(kt))


def network(p, hp, first, c_up, g, skips):
    """Outputs for the inputs `first` (T, channels); g: the speaker's vector."""
    one = lambda n, v: v @ p[n + '.weight'][:, :, 0].T + p.get(n + '.bias', 0)
    x, total, per, K = one('first_conv', first), None, hp['layers'] // hp['stacks'], hp['kernel_size']
    for i in range(hp['layers']):
        q, d = f'conv_layers.{i}.', 2 ** (i % per)
        a = np.zeros((len(x), hp['gate_channels'])) + p[q + 'conv.bias']
        for k in range(K):
            back = (K - 1 - k) * d
            shifted = np.zeros_like(x)
            shifted[back:] = x[:len(x) - back] if back < len(x) else 0
            a += shifted @ p[q + 'conv.weight'][:, :, k].T
        a = a + one(q + 'conv1x1c', c_up) + one(q + 'conv1x1g', g[None])
        h = a.shape[1] // 2
        z = np.tanh(a[:, :h]) / (1 + np.exp(-a[:, h:]))
        s = one(q + 'conv1x1_skip', z)
        total = s if total is None else (total + s) * (np.sqrt(.5) if skips == 'legacy' else 1)
        x = (one(q + 'conv1x1_out', z) + x) * np.sqrt(.5)
    if skips == 'scaled':
        total = total * np.sqrt(1 / hp['layers'])
    return one('last_conv_layers.3', np.maximum(one('last_conv_layers.1', np.maximum(total, 0)), 0))


def layers(p, hp, inputs, bias, norm):
    conv(p, 'first_conv', (hp['residual_channels'], inputs, 1), norm=norm)
    for i in range(hp['layers']):
        q = f'conv_layers.{i}.'
        conv(p, q + 'conv', (hp['gate_channels'], hp['residual_channels'], hp['kernel_size']), norm=norm)
        conv(p, q + 'conv1x1c', (hp['gate_channels'], hp['cin_channels'], 1), bias, norm)
        conv(p, q + 'conv1x1g', (hp['gate_channels'], hp['gin_channels'], 1), bias, norm)
        conv(p, q + 'conv1x1_out', (hp['residual_channels'], hp['gate_channels'] // 2, 1), norm=norm)
        conv(p, q + 'conv1x1_skip', (hp['skip_out_channels'], hp['gate_channels'] // 2, 1), norm=norm)
    conv(p, 'last_conv_layers.1', (hp['skip_out_channels'], hp['skip_out_channels'], 1), norm=norm)
    conv(p, 'last_conv_layers.3', (hp['out_channels'], hp['skip_out_channels'], 1), norm=norm)


def save(name, p, hp, **arrays):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    json.dump(hp, open(f'{folder}/hparams.json', 'w'), indent=1)
    np.savez_compressed(f'{folder}/model.npz', **p)
    np.savez_compressed(f'{folder}/io.npz', **arrays)


def older():
    hp = dict(name='wavenet_vocoder', builder='wavenet', input_type='raw', quantize_channels=65536, sample_rate=16000, hop_size=6, log_scale_min=-9.0,
              out_channels=6, layers=6, stacks=2, residual_channels=6, gate_channels=8, skip_out_channels=5, kernel_size=3, cin_channels=5,
              upsample_conditional_features=True, upsample_scales=[2, 3], freq_axis_kernel_size=3, gin_channels=4, n_speakers=3, weight_normalization=True)
    p = {}
    layers(p, hp, 1, True, True)
    for i, s in enumerate(hp['upsample_scales']):
        conv(p, f'upsample_conv.{2 * i}', (1, 1, 3, s))
        v = p[f'upsample_conv.{2 * i}.weight_v']
        p[f'upsample_conv.{2 * i}.bias'][:] = (.1, -.15)[i]
        v[:] = np.where(rng.random(v.shape) < .7, np.abs(v), v)
    p['embed_speakers.weight'] = normal(3, 4, size=.8)
    q, c, x, frames = fold(p), None, None, 8
    c, x = normal(frames, 5, size=.9), rng.uniform(-.9, .9, 6 * frames).astype('<f4')
    up = c.astype(float)
    for i, s in enumerate(hp['upsample_scales']):
        up = np.maximum(transposed(up, q[f'upsample_conv.{2 * i}.weight'][0, 0], q[f'upsample_conv.{2 * i}.bias'], s), 0)
    first = np.r_[0, x[:-1].astype(float)][:, None]
    run = lambda skips: network(q, hp, first, up, q['embed_speakers.weight'][1], skips)
    save('older', p, hp, c=c, x=x, g=np.array([1]), c_up=up, y=run('legacy'), y_sum=run('sum'))


def stretched():
    hp = dict(name='wavenet_vocoder', input_type='mulaw-quantize', quantize_channels=12, preprocess='preemphasis', global_gain_scale=0.55, sample_rate=8000,
              hop_size=6, output_distribution='Logistic', log_scale_min=-9.0, out_channels=12, layers=5, stacks=1, residual_channels=7, gate_channels=6,
              skip_out_channels=9, kernel_size=2, cin_channels=4, cin_pad=1, upsample_conditional_features=True, upsample_net='UpsampleNetwork',
              upsample_params=dict(upsample_scales=[3, 2], upsample_activation='LeakyReLU', upsample_activation_params=dict(negative_slope=.3), freq_axis_kernel_size=3),
              gin_channels=3, n_speakers=7)
    p = {}
    layers(p, hp, 12, False, False)
    for i, s in enumerate([3, 2]):
        conv(p, f'upsample_net.up_layers.{3 * i + 1}', (1, 1, 3, 2 * s + 1), False, False)
    q, frames = fold(p), 9
    c, x, g = normal(frames, 4, size=.8), rng.integers(0, 12, 6 * (frames - 2)), normal(3, size=.9)
    up = c.astype(float)
    for i, s in enumerate([3, 2]):
        up = stretch(up, q[f'upsample_net.up_layers.{3 * i + 1}.weight'][0, 0], s)
        up = np.where(up > 0, up, .3 * up)
    up = up[6:-6]
    first = np.eye(12)[np.r_[5, x[:-1]]]
    save('stretch', p, hp, c=c, x=x, g=g, c_up=up, y=network(q, hp, first, up, g.astype(float), 'scaled'))


older()
stretched()
