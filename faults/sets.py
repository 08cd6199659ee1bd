"""Small sets of images in the format of MNIST, which the library takes for the originals."""

import contextlib
import gzip
import hashlib
import struct
from pathlib import Path
from unittest import mock

import numpy as np

from bnlib import data

IMAGES = {"train": 60, "t10k": 12}


def files(name):
    """The four files of a small set, unpacked, by their names.

    Parameters
    ----------
    name : str
        Of the set that it stands for; each gets its own pixels.
    """
    rng = np.random.default_rng(len(name))
    made = {}
    for part, count in IMAGES.items():
        pixels = rng.integers(0, 256, (count, data.SIDE, data.SIDE), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 3
        made[f"{part}-images-idx3-ubyte"] = struct.pack(">4I", 2051, *pixels.shape) + pixels.tobytes()
        made[f"{part}-labels-idx1-ubyte"] = struct.pack(">2I", 2049, count) + labels.tobytes()
    return made


def packed(content):
    return gzip.compress(content, mtime=0)


def put(name, root, pack):
    """Write the files of a small set where the library looks for them under `root`; return their folder."""
    folder = Path(root) / data.RAW[name]
    folder.mkdir(parents=True)
    for file, content in files(name).items():
        if pack:
            (folder / f"{file}.gz").write_bytes(packed(content))
        else:
            (folder / file).write_bytes(content)
    return folder


@contextlib.contextmanager
def originals(names=tuple(data.RAW)):
    """While this holds, the library takes the small sets for the originals."""
    sums = {name: {file: hashlib.md5(content).hexdigest() for file, content in files(name).items()} for name in names}
    with mock.patch.dict(data.FILES, sums):
        yield


def is_right(name, loaded):
    """Whether what was loaded has the pixels and labels of the small set, every row once."""
    made = files(name)
    for part, splits in (("train", (loaded.train, loaded.validation)), ("t10k", (loaded.test,))):
        pixels = np.frombuffer(made[f"{part}-images-idx3-ubyte"], np.uint8, offset=16).reshape(IMAGES[part], -1)
        labels = np.frombuffer(made[f"{part}-labels-idx1-ubyte"], np.uint8, offset=8)
        wanted = sorted(row.tobytes() + bytes([label]) for row, label in zip(pixels, labels))
        found = [
            np.rint(row * 255).astype(np.uint8).tobytes() + bytes([label])
            for split in splits
            for row, label in zip(split.images, split.labels)
        ]
        if sorted(found) != wanted:
            return False
    return True
