"""Trims the dumps of the originals to what the tests use: python make.py FOLDER_WITH_THE_DUMPS

The dumps were made by running tomlepaine/fast-wavenet (TensorFlow) and r9y9/wavenet_vocoder (PyTorch, commit a35fff7) on
small models of random weights; numbers called f64 are the originals' own, computed in float64. The checkpoints are theirs.
"""
import io, json, os, pickle, shutil, sys, zipfile
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def save(name, **arrays):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    np.savez_compressed(path, **arrays)


def copy(source, name):
    path = os.path.join(HERE, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copyfile(source, path)
    os.chmod(path, 0o644)


class Ordered(dict):
    """A dict that, as a state dict, has attributes."""


class Unpickler(pickle.Unpickler):
    """Reads a state dict without PyTorch."""
    def __init__(self, archive, prefix):
        super().__init__(io.BytesIO(archive.read(prefix + 'data.pkl')))
        self.archive, self.prefix = archive, prefix

    def persistent_load(self, key):
        return np.frombuffer(self.archive.read(f'{self.prefix}data/{key[2]}'), '<f4')

    def find_class(self, module, name):
        if name == '_rebuild_tensor_v2':
            return lambda s, offset, shape, stride, *_: np.lib.stride_tricks.as_strided(s[offset:], shape, [4 * x for x in stride]).copy()
        return Ordered if name == 'OrderedDict' else (lambda *a: a) if 'Storage' in name or module.startswith('torch') else super().find_class(module, name)


def state_dict(path):
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith('data.pkl'))
        return Unpickler(archive, name[:-len('data.pkl')]).load()['state_dict']


def safetensors(name, tensors):
    head, end = {}, 0
    for key, value in tensors.items():
        head[key] = dict(dtype='F32', shape=list(value.shape), data_offsets=[end, end + value.nbytes])
        end += value.nbytes
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    with open(os.path.join(HERE, name), 'wb') as f:
        f.write(len(text).to_bytes(8, 'little') + text + b''.join(np.ascontiguousarray(v).tobytes() for v in tensors.values()))


def main(root):
    fast, vocoder = os.path.join(root, 'wavenet'), os.path.join(root, 'vocoder')
    for file in ['v1/wavenet.ckpt', 'v2/wavenet.ckpt.index', 'v2/wavenet.ckpt.data-00000-of-00001']:
        copy(f'{fast}/tiny/{file}', f'fast/{file}')
    a, b = np.load(f'{fast}/tiny/io.npz'), np.load(f'{fast}/tiny/io_long.npz')
    weights = np.load(f'{fast}/tiny/weights.npz')
    save('fast/weights.npz', **{k: weights[k] for k in weights.files if 'Adam' not in k and 'beta' not in k})
    save('fast/io.npz', inputs=a['inputs'], targets=a['targets'].astype(np.int64), logits=a['logits_f64'], costs=a['costs'], bins=a['bins'],
         gen_classes=a['gen_classes'], gen_logits=a['gen_logits'], long_inputs=b['inputs'], long_targets=b['targets'].astype(np.int64),
         long_logits=b['logits_f64'][:, 160:], long_costs=b['costs'])
    m = np.load(f'{fast}/make_batch.npz')
    # A stretch of the recording with its extremes, which decide the normalisation, in front.
    pcm = m['pcm'].astype(np.int64)
    keep = np.r_[pcm.argmin(), pcm.argmax(), 9000:10000]
    save('fast/make_batch.npz', pcm=pcm[keep], normalized=m['normalized'][keep], classes=m['classes'][keep],
         edge_values=m['edge_values'], edge_classes=m['edge_classes'])
    mol, mulaw = f'{vocoder}/mol_tiny', f'{vocoder}/mulaw_tiny'
    copy(f'{mol}/hparams.json', 'mol/hparams.json')
    copy(f'{mol}/checkpoint_step000000100_ema.pth', 'mol/checkpoint_step000000100_ema.pth')
    safetensors('mol/checkpoint_step000000100.safetensors', state_dict(f'{mol}/checkpoint_step000000100.pth'))
    i, acts = np.load(f'{mol}/io.npz'), np.load(f'{mol}/acts.npz')
    save('mol/io.npz', x=i['x'], c=i['c'], g=i['g'].astype(np.int64), y_hat=i['y_hat_f64'], y_hat_raw=i['y_hat_raw_checkpoint'], nll=i['nll_nats'],
         nll_256=i['nll_nats_256'], u_mix=i['u_mix'], u_log=i['u_log'], gen=i['gen_f64'], c_up=acts['c_up'])
    copy(f'{mulaw}/hparams.json', 'mulaw/hparams.json')
    copy(f'{mulaw}/checkpoint_step000000100_ema_legacy.pth', 'mulaw/checkpoint_step000000100_ema_legacy.pth')
    copy(f'{mulaw}/checkpoint_ema.safetensors', 'mulaw/checkpoint_ema.safetensors')
    i, acts = np.load(f'{mulaw}/io.npz'), np.load(f'{mulaw}/acts.npz')
    save('mulaw/io.npz', x=i['x_codes'].astype(np.int64), c=i['c'], y_hat=i['y_hat_f64'][:, :72], nll=i['nll_nats'], u=i['u'],
         gen_sampled=i['gen_sampled'].astype(np.int64), gen_greedy=i['gen_greedy'].astype(np.int64), c_up=acts['c_up'])
    m = np.load(f'{vocoder}/mulaw_codec.npz')
    save('mulaw_codec.npz', x=m['x'], mulaw=m['mulaw'], codes=m['codes'].astype(np.int64), decode_table=m['decode_table'].astype(np.float64))


if __name__ == '__main__':
    main(sys.argv[1])
