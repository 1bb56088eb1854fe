"""Damaged data through the command line, exit code 3 and one line; and the loader fed with nonsense."""

import gzip
import struct

import numpy as np
import pytest

from experiments.beta_sweep import BetaSweep, run
from jaxvae import cli
from tests.soak import data_files

TRAIN, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def images(*shape, dtype=np.uint8, code=8):
    values = np.arange(np.prod(shape), dtype=np.uint8).astype(dtype)
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + values.tobytes()


def labels(*values):
    return struct.pack(">II", 2049, len(values)) + bytes(values)


RIGHT = labels(*(k % 10 for k in range(40)))
BITS = struct.pack(">4I", 2051, 40, 28, 28) + bytes([0, 1] * 15680)
DAMAGES = {
    "bad magic": (TRAIN, b"\x89PNG" + bytes(100), "expected magic number 2051 (bytes, 3 dimensions), found 2303741511"),
    "an axis of channels": (
        TRAIN,
        images(40, 1, 28, 28),
        "expected magic number 2051 (bytes, 3 dimensions), found 2052",
    ),
    "floats": (TRAIN, images(40, 28, 28, dtype=">f4", code=13), "(bytes, 3 dimensions), found 3331"),
    "doubles with NaN": (TRAIN, images(40, 28, 28, dtype=">f8", code=14) + b"\x7f\xf8", "3 dimensions), found 3587"),
    "shorts": (TRAIN, images(40, 28, 28, dtype=">i2", code=11), "3 dimensions), found 2819"),
    "flat images": (TRAIN, images(40, 784), "3 dimensions), found 2050"),
    "27 rows": (TRAIN, images(40, 27, 28), "expected images of 28x28, as in t10k-images-idx3-ubyte, found 27x28"),
    "cut off": (TRAIN, images(40, 28, 28)[:-1], "expected 31376 bytes, found 31375"),
    "cut off in the header": (TRAIN, images(40, 28, 28)[:9], "expected a header of 16 bytes, found 9"),
    "empty": (TRAIN, b"", "expected a header of 16 bytes, found 0"),
    "forged sizes": (TRAIN, struct.pack(">4I", 2051, *[2**32 - 1] * 3), "expected at most 268435456 bytes, found"),
    "a bomb": (TRAIN, gzip.compress(struct.pack(">4I", 2051, 2**18, 28, 28)), "expected 205520912 bytes, found 16"),
    "bits for bytes": (TRAIN, BITS, "expected pixels from 0 to 255, found 0 to 1"),
    "gzip damage": (TRAIN, gzip.compress(images(40, 28, 28))[:-6], "expected complete gzip data, found it cut off"),
    "a wrong checksum": (TRAIN, gzip.compress(images(40, 28, 28))[:-8] + bytes(8), "found damage (Error -3 while"),
    "more images than labels": (TRAIN, images(41, 28, 28), "expected 41 labels, one for each image"),
    "images for labels": (LABELS, images(40, 28, 28), "expected magic number 2049 (bytes, 1 dimensions), found 2051"),
    "one-hot labels": (LABELS, images(40, 10), "expected magic number 2049 (bytes, 1 dimensions), found 2050"),
    "a label of 10": (LABELS, RIGHT[:-1] + b"\n", "expected labels from 0 to 9, found 10"),
    "a label of -1": (LABELS, RIGHT[:-1] + b"\xff", "expected labels from 0 to 9, found 255"),
    "wide labels": (LABELS, struct.pack(">II40i", 0x0C01, 40, *range(40)), "1 dimensions), found 3073"),
}


def sweep(*flags):
    return cli.main("beta_sweep", BetaSweep, run, [str(flag) for flag in flags])


@pytest.fixture
def files(tmp_path):
    data_files.write_valid_files(tmp_path / "data" / "mnist", packed=False)
    return tmp_path / "data" / "mnist"


@pytest.mark.parametrize("dataset", ["mnist", "auto"])
@pytest.mark.parametrize(("name", "content", "finding"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_named_in_one_line(tmp_path, files, capsys, dataset, name, content, finding):
    (files / name).write_bytes(content)
    assert sweep("--dataset", dataset, "--data-dir", files.parent, "--out", tmp_path / "run") == 3
    line, end = capsys.readouterr().err.split("\n")
    assert line.startswith("error: ")
    assert not end
    assert str(files) in line
    assert finding in line
    assert name in line
    assert not (tmp_path / "run").exists()


def test_a_cached_file_that_is_not_the_official_one(tmp_path, capsys):
    files = data_files.write_valid_files(tmp_path / "cache" / "jaxvae" / "data" / "mnist")
    assert sweep("--dataset", "mnist", "--out", tmp_path / "run") == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {next(iter(files)).parent}")
    assert "sha256: expected " in line
    assert "delete it to download it again" in line


def test_a_data_dir_that_is_a_file(tmp_path, files, capsys):
    assert sweep("--data-dir", files / TRAIN, "--out", tmp_path / "run") == 3
    assert f"error: data_dir is {files / TRAIN}: expected a folder" in capsys.readouterr().err


def test_fuzzed_files(tmp_path):
    """A short form of `python -m tests.soak data_files`."""
    found = data_files.run(1000, seed=0, work=tmp_path)
    assert found.failures == []
    assert len(found.figures["damages"]) == 17
    assert set(found.figures["outcomes"]) == {"refused", "the same"}


def test_the_fuzz_notices_what_is_wrong(tmp_path, monkeypatch):
    """The negative control: a loader that lets everything pass, and one that fails otherwise."""
    data_files.write_valid_files(tmp_path / "plain", packed=False)
    original = data_files.data.load("mnist", tmp_path / "plain")
    shifted = np.roll(original.train.image, 1)
    wrong = original.train._replace(image=shifted)
    monkeypatch.setattr(data_files.data, "load", lambda *_: type(original)("mnist", wrong, original.test, "here"))
    assert data_files.load(tmp_path / TRAIN, original)[1] == "read with other values"

    def fail(*_):
        raise IndexError("no")

    monkeypatch.setattr(data_files.data, "load", fail)
    assert data_files.load(tmp_path / TRAIN, original)[1] == "IndexError: no"
