"""A read-out of digits with a closed form: principal components in, one standardized target out."""

from dataclasses import dataclass, field

import numpy as np

from bnlib import data, training
from bnlib.moments import Moments
from companion.records import Source


@dataclass(frozen=True, eq=False)
class ReadOut:
    """Digits as a read-out sees them.

    Parameters
    ----------
    dataset : bnlib.data.Dataset
    digit : int, optional
        The target says whether an image is this one; None: ten targets, one a digit.
    inputs : dict of str to ndarray, shape (n, components), dtype float64
        Keys ``train``, ``validation``, ``test``: the leading principal components of the training images, largest
        variance first, centred on the training images' mean.
    target : dict of str to ndarray, shape (n,) or (n, 10)
        Shifted and scaled so that in training each has mean 0 and variance 1.
    labels : dict of str to ndarray, shape (n,)
    moments : bnlib.moments.Moments
        Of inputs and target in training.
    pixels : bnlib.moments.Moments
        Of the standardized training images, with the labels for a target.
    basis : ndarray, shape (784, components)
        Orthonormal columns: ``basis @ v`` maps weights back to pixels.
    """

    dataset: data.Dataset
    digit: int | None
    inputs: dict = field(repr=False)
    target: dict = field(repr=False)
    labels: dict = field(repr=False)
    moments: Moments = field(repr=False)
    pixels: Moments = field(repr=False)
    basis: np.ndarray = field(repr=False)

    def source(self, seeds=(), **conditions):
        """Where numbers made with this read-out come from."""
        known = {"components": self.basis.shape[1]}
        known |= {} if self.digit is None else {"digit": self.digit}
        return Source(self.dataset.name, len(self.labels["train"]), tuple(seeds), known | conditions)


def read_out(dataset, digit, components, rows=None):
    """Load a data set and look at it through its principal components.

    Parameters
    ----------
    dataset : str
        As for `bnlib.data.load`.
    digit : int or None
    components : int
    rows : int, optional
        Training images used, from the first; default: all.

    Returns
    -------
    ReadOut

    Examples
    --------
    >>> three = read_out("mnist-5k", digit=3, components=8, rows=500)
    >>> three.inputs["train"].shape, three.basis.shape
    ((500, 8), (784, 8))
    """
    loaded = data.load(dataset)
    parts = {name: slice(rows if name == "train" else None) for name in ("train", "validation", "test")}
    pixels = {name: part[parts[name]] for name, part in training.standardize(loaded).items()}
    labels = {name: getattr(loaded, name).labels[part] for name, part in parts.items()}
    seen = Moments.from_data(pixels["train"], labels["train"])
    basis = seen.spectrum[1][:, ::-1][:, :components]
    asked = np.arange(10) if digit is None else [digit]
    is_digit = {name: (part[:, None] == asked).astype(np.float64) for name, part in labels.items()}
    if digit is not None:
        is_digit = {name: part[:, 0] for name, part in is_digit.items()}
    mean, std = is_digit["train"].mean(axis=0), is_digit["train"].std(axis=0)
    inputs = {name: _projected(part, seen.mean, basis) for name, part in pixels.items()}
    target = {name: (part - mean) / std for name, part in is_digit.items()}
    return ReadOut(
        dataset=loaded,
        digit=digit,
        inputs=inputs,
        target=target,
        labels=labels,
        moments=Moments.from_data(inputs["train"], target["train"]),
        pixels=seen,
        basis=basis,
    )


def _projected(pixels, mean, basis, chunk_rows=4096):
    """Coordinates of images in the basis, in float64; all images at once would be hundreds of megabytes."""
    chunks = np.split(pixels, range(chunk_rows, len(pixels), chunk_rows))
    return np.concatenate([(chunk.astype(np.float64) - mean) @ basis for chunk in chunks])
