#!/usr/bin/env python3
"""Writes hdf5/*.h5 with h5py (3.16, HDF5 2.0), and the numbers in them as hdf5/expected.npz. Run it in this folder."""
import h5py
import numpy as np

rng = np.random.default_rng(8)
f4 = lambda *shape: rng.standard_normal(shape).astype("<f4")

NUMBERS = {
    "floats/f4": f4(3, 4),
    "floats/f8": rng.standard_normal((3, 4)),
    "floats/f2": rng.standard_normal((3, 4)).astype("<f2"),
    "floats/big_f4": f4(3, 4).astype(">f4"),
    "floats/big_f8": rng.standard_normal((2, 2)).astype(">f8"),
    "flags/scalar": np.bool_(True),
    "flags/list": np.array([True, False, True]),
    "signed/i1": np.array([1, -2, 127], "i1"),
    "signed/i2": np.array([1, -2, 300], "<i2"),
    "signed/i4": np.array([1, -2, 70000], "<i4"),
    "signed/i8": np.array([1, -2, 1 << 40], "<i8"),
    "signed/big_i4": np.array([1, -2, 70000], ">i4"),
    "unsigned/u1": np.array([1, 2, 255], "u1"),
    "unsigned/u2": np.array([1, 2, 65535], "<u2"),
    "unsigned/u4": np.array([1, 2, 1 << 31], "<u4"),
    "unsigned/u8": np.array([1, 2, 1 << 63], "<u8"),
}
CHUNKED = {
    "chunks/plain": (f4(11, 7), dict(chunks=(4, 4))),
    "chunks/growing": (f4(11, 7), dict(chunks=(4, 4), maxshape=(None, 7))),
    "chunks/deflated": (f4(11, 7), dict(chunks=(4, 4), compression="gzip")),
    "chunks/shuffled": (rng.standard_normal((3, 4, 5)).astype(">f8"), dict(chunks=(2, 3, 4), compression="gzip", shuffle=True)),
    # A tree of two levels.
    "chunks/many": (f4(200), dict(chunks=(2,))),
}


def write(name, libver, chunked, many):
    expected = {}
    with h5py.File(f"hdf5/{name}.h5", "w", libver=libver) as f:
        for path, value in NUMBERS.items():
            f[path], expected[path] = value, value
        for path, (value, options) in CHUNKED.items() if chunked else ():
            f.create_dataset(path, data=value, **options)
            expected[path] = value
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((2, 3))
        value = np.arange(6, dtype="<f4").reshape(2, 3)
        compact = h5py.h5d.create(f.create_group("odd").id, b"compact", h5py.h5t.IEEE_F32LE, space, layout)
        compact.write(space, space, value)
        expected["odd/compact"] = value
        f.create_dataset("odd/empty", shape=(0, 3), dtype="f4")
        expected["odd/empty"] = np.zeros((0, 3), "f4")
        f["odd/null"] = h5py.Empty("f4")
        expected["odd/null"] = np.zeros(0, "f4")
        for i in range(20):                        # attributes in a continuation of the header
            f["floats/f4"].attrs[f"note_{i}"] = "x" * 50
        # What is listed and not read.
        f["unread/text"] = "text"
        f["unread/compound"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
        f.create_dataset("unread/unwritten", shape=(2, 3), dtype="f4")
        if chunked:
            f.create_dataset("unread/summed", data=f4(8), chunks=(4,), fletcher32=True)
        # What is left out.
        f["links/again"] = f["floats/f4"]
        f["links/by_name"] = h5py.SoftLink("/floats/f4")
        f["links/nowhere"] = h5py.SoftLink("/nothing")
        f["links/cycle"] = f["links"]
        f["links/type"] = np.dtype("f4")
        for i in range(many):                      # more names than one symbol table holds
            f.create_group(f"empty/group_{i}")
    return expected


expected = write("older", ("earliest", "v108"), True, 12)
assert expected.keys() - write("newer", ("latest", "latest"), False, 5).keys() == CHUNKED.keys()
np.savez_compressed("hdf5/expected.npz", **{k: np.asarray(v).astype("<f4") for k, v in expected.items()})
write("heap", ("latest", "latest"), False, 12)     # links in a fractal heap
with h5py.File("hdf5/deep.h5", "w", libver="latest") as f:
    f.create_group("/".join("abcdefg"[i % 7] for i in range(70)))
