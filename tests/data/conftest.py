"""Hand-made IDX files, the real ones where JAXVAE_DATA_DIR has them, and a user without data, cache or network."""

import gzip
import os
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

REAL_DATA_DIR = os.environ.get("JAXVAE_DATA_DIR")  # read before `isolated` hides it
PARTS = {
    "train-images-idx3-ubyte": ("train", 0),
    "train-labels-idx1-ubyte": ("train", 1),
    "t10k-images-idx3-ubyte": ("test", 0),
    "t10k-labels-idx1-ubyte": ("test", 1),
}


def encode_idx(array):
    """The IDX bytes of a uint8 array: an independent writer for the parser under test."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def make_arrays(size=28, train=20, test=10, seed=0):
    """{"train": (images, labels), "test": ...} of random uint8, labels 0 to 9."""
    rng = np.random.default_rng(seed)
    return {
        split: (rng.integers(0, 256, (n, size, size), np.uint8), np.arange(n, dtype=np.uint8) % 10)
        for split, n in (("train", train), ("test", test))
    }


def write_files(folder, arrays, compress=True):
    """Write the four files of a data set under their official names."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, (split, index) in PARTS.items():
        data = encode_idx(arrays[split][index])
        (folder / (f"{stem}.gz" if compress else stem)).write_bytes(gzip.compress(data) if compress else data)


def check_one_line(error, *fragments):
    """Assert that a pytest ExceptionInfo or exception is one line that holds every fragment."""
    text = str(getattr(error, "value", error))
    assert "\n" not in text
    for fragment in fragments:
        assert fragment in text


@pytest.fixture(scope="session")
def idx_bytes():
    return encode_idx


@pytest.fixture(scope="session")
def random_arrays():
    return make_arrays


@pytest.fixture(scope="session")
def write_idx_files():
    return write_files


@pytest.fixture(scope="session")
def assert_one_line():
    return check_one_line


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No data, cache, prepared folder, home or proxy of the person who runs the tests is seen."""
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for variable in ("JAXVAE_DATA_DIR", *proxies, *map(str.upper, proxies)):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))


@pytest.fixture
def hanging_dns(monkeypatch):
    """Every host name look-up hangs until the test is over."""
    over = threading.Event()

    def hang(*args, **kwargs):
        over.wait()
        raise socket.gaierror("the test is over")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield
    over.set()


@pytest.fixture
def closed_port():
    """A port of 127.0.0.1 that refuses connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def real_data_dir():
    if not REAL_DATA_DIR:
        pytest.skip("JAXVAE_DATA_DIR is not set")
    return Path(REAL_DATA_DIR)
