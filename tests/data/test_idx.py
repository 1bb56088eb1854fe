import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxvae.data import idx
from jaxvae.errors import DataError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([3, 7], np.uint8)
EXAMPLES = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "file"


def read_bytes(file, data, ndim):
    file.write_bytes(data)
    return idx.read(file, ndim)


def test_reads_bytes_written_by_hand(file):
    header = bytes.fromhex("00000803 00000001 00000002 00000002")
    array, sha256 = read_bytes(file, header + b"\x00\x7f\x80\xff", 3)
    np.testing.assert_array_equal(array, [[[0, 127], [128, 255]]])
    assert array.dtype == np.uint8
    assert sha256 == hashlib.sha256(header + b"\x00\x7f\x80\xff").hexdigest()


@EXAMPLES
@given(
    array=hnp.arrays(
        np.uint8, st.one_of(hnp.array_shapes(min_dims=1, max_dims=1), hnp.array_shapes(min_dims=3, max_dims=3))
    ),
    compress=st.booleans(),
)
def test_round_trip(file, idx_bytes, array, compress):
    data = idx_bytes(array)
    found, _ = read_bytes(file, gzip.compress(data) if compress else data, array.ndim)
    np.testing.assert_array_equal(found, array)


@EXAMPLES
@given(compress=st.booleans(), data=st.data())
def test_every_truncation_is_refused(file, idx_bytes, compress, data):
    whole = gzip.compress(idx_bytes(IMAGES)) if compress else idx_bytes(IMAGES)
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DataError):
        read_bytes(file, whole[:end], 3)


@EXAMPLES
@given(position=st.integers(0, 15), value=st.integers(0, 255), compress=st.booleans())
def test_every_changed_header_byte_is_refused(file, idx_bytes, position, value, compress):
    damaged = bytearray(idx_bytes(IMAGES))
    unchanged = damaged[position] == value
    damaged[position] = value
    data = gzip.compress(bytes(damaged)) if compress else bytes(damaged)
    if unchanged:  # the negative control
        read_bytes(file, data, 3)
    else:
        with pytest.raises(DataError):
            read_bytes(file, data, 3)


@EXAMPLES
@given(noise=st.binary(max_size=60), gzipped=st.booleans(), ndim=st.sampled_from([1, 3]))
def test_noise_is_refused(file, noise, gzipped, ndim):
    with pytest.raises(DataError):
        read_bytes(file, b"\x1f\x8b" * gzipped + noise, ndim)


@EXAMPLES
@given(data=st.data())
def test_a_flipped_bit_in_gzip_data_never_passes_unseen(file, idx_bytes, data):
    damaged = bytearray(gzip.compress(idx_bytes(IMAGES), mtime=0))
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found, _ = read_bytes(file, bytes(damaged), 3)
    except DataError:
        return
    np.testing.assert_array_equal(found, IMAGES)  # a bit of the gzip header that says nothing about the content


DAMAGES = {
    "empty": (b"", "expected a header of 16 bytes, found 0"),
    "header only in part": (b"\0\0\x08\x03\0\0", "expected a header of 16 bytes, found 6"),
    "labels for images": (
        struct.pack(">4I", 2049, 2, 3, 4),
        "expected magic number 2051 (bytes, 3 dimensions), found 2049",
    ),
    "float values": (struct.pack(">4I", 0x0D03, 2, 3, 4), "found 3331"),
    "web page": (b"<!DOCTYPE html><html></html>", "expected magic number 2051"),
    "no images": (struct.pack(">4I", 2051, 0, 28, 28), "expected a header of sizes above 0, found (0, 28, 28)"),
    "no width": (struct.pack(">4I", 2051, 1, 28, 0), "sizes above 0"),
    "one byte short": (struct.pack(">4I", 2051, 1, 2, 2) + b"abc", "expected 20 bytes, found 19"),
    "one byte more": (struct.pack(">4I", 2051, 1, 2, 2) + b"abcde", "expected 20 bytes, found more"),
    "forged sizes": (struct.pack(">4I", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1), "expected at most 268435456 bytes"),
    "sizes that overflow to 0": (struct.pack(">4I", 2051, 2**31, 2**31, 4), "expected at most 268435456 bytes"),
    "large but empty": (struct.pack(">4I", 2051, 2**18, 28, 28), "found 16"),
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(("data", "finding"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named(file, assert_one_line, data, finding, compress):
    with pytest.raises(DataError) as error:
        read_bytes(file, gzip.compress(data) if compress else data, 3)
    assert_one_line(error, str(file), finding, "replace the file with an intact copy")


def test_bytes_after_gzip_data_are_refused(file, idx_bytes, assert_one_line):
    with pytest.raises(DataError) as error:
        read_bytes(file, gzip.compress(idx_bytes(IMAGES)) + b"more", 3)
    assert_one_line(error, "expected nothing after the gzip data, found 4 bytes")


def test_gzip_bomb_does_not_unfold(file, assert_one_line):
    bomb = gzip.compress(struct.pack(">4I", 2051, 1, 28, 28) + bytes(2**26), compresslevel=1)
    assert len(bomb) < 2**20
    tracemalloc.start()
    with pytest.raises(DataError) as error:
        read_bytes(file, bomb, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_one_line(error, "expected 800 bytes, found more")
    assert peak < 2**22


def test_file_above_the_limit_is_not_read(file, assert_one_line):
    with file.open("wb") as sparse:
        sparse.truncate(idx.MAX_BYTES + 1)
    with pytest.raises(DataError) as error:
        idx.read(file, 3)
    assert_one_line(error, f"expected at most {idx.MAX_BYTES} bytes, found {idx.MAX_BYTES + 1}")
    file.unlink()


def test_missing_file_and_folder_are_refused(tmp_path, assert_one_line):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError) as error:
            idx.read(path, 3)
        assert_one_line(error, str(path), "expected a file")


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_finds_both_spellings(tmp_path, mark, end):
    for part, ndim in idx.PARTS.items():
        (tmp_path / f"{part}{mark}idx{ndim}-ubyte{end}").touch()
    files = idx.find(tmp_path)
    assert list(files) == list(idx.PARTS)
    assert files["t10k-labels"].name == f"t10k-labels{mark}idx1-ubyte{end}"


def test_finds_nothing_where_nothing_is(tmp_path):
    assert idx.find(tmp_path) == {}
    assert idx.find(tmp_path / "missing") == {}


def test_incomplete_set_is_refused(tmp_path, assert_one_line):
    (tmp_path / "train-images-idx3-ubyte.gz").touch()
    with pytest.raises(DataError) as error:
        idx.find(tmp_path)
    assert_one_line(error, str(tmp_path), "found train-images-idx3-ubyte.gz;", "t10k-labels-idx1-ubyte[.gz]")


def test_loads_a_set_of_any_image_size(tmp_path, random_arrays, write_idx_files):
    arrays = random_arrays(size=5)
    write_idx_files(tmp_path, arrays)
    dataset = idx.load("tiny", idx.find(tmp_path), source="here")
    np.testing.assert_array_equal(dataset.train.image[..., 0], arrays["train"][0])
    np.testing.assert_array_equal(dataset.test.label, arrays["test"][1])
    assert dataset.test.label.dtype == np.int32
    assert dataset.source == "here"
    assert dataset.sha256 == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in tmp_path.iterdir()}


def test_count_mismatch_and_wrong_labels_are_refused(tmp_path, random_arrays, write_idx_files, assert_one_line):
    arrays = random_arrays()
    images, labels = arrays["test"]
    write_idx_files(tmp_path, arrays | {"test": (images, labels[:-1])}, compress=False)
    with pytest.raises(DataError) as error:
        idx.load("tiny", idx.find(tmp_path), source="here")
    assert_one_line(error, "t10k-labels-idx1-ubyte: expected 10 labels", "found 9")
    write_idx_files(tmp_path, arrays | {"test": (images, labels + 1)}, compress=False)
    with pytest.raises(DataError) as error:
        idx.load("tiny", idx.find(tmp_path), source="here")
    assert_one_line(error, "t10k-labels-idx1-ubyte: expected labels from 0 to 9, found 10")
