"""IDX files, the format of MNIST and Fashion-MNIST: found by their official names, checked, then read.

An IDX file is a big-endian uint32 magic number (0x08 for bytes in its third byte, the number of dimensions in its
fourth), one uint32 per dimension, then the values in C order (Y. LeCun, "The MNIST database of handwritten digits").
"""

import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxvae.data.dataset import Dataset, Split
from jaxvae.errors import DataError

PARTS = {"train-images": 3, "train-labels": 1, "t10k-images": 3, "t10k-labels": 1}  # part: number of dimensions
MAX_BYTES = 2**28  # of one file, packed or unpacked; the largest of MNIST unpacks to 47 MB


def find(folder: Path) -> dict[str, Path]:
    """Return {part: file} for the four parts of a data set in `folder`, or {} where it holds none of them.

    Accepts `train-images-idx3-ubyte` and `train-images.idx3-ubyte`, each with or without `.gz` (taken first).

    Raises:
        DataError: some parts are there and others are not, or the folder cannot be listed.
    """
    try:
        present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    files = {}
    for part, ndim in PARTS.items():
        names = [f"{part}{mark}idx{ndim}-ubyte{end}" for mark in "-." for end in (".gz", "")]
        if name := next((name for name in names if name in present), None):
            files[part] = folder / name
    missing = [f"{part}-idx{ndim}-ubyte[.gz]" for part, ndim in PARTS.items() if part not in files]
    if files and missing:
        found = ", ".join(path.name for path in files.values())
        raise DataError(f"{folder}: expected four IDX files, found {found}; add {', '.join(missing)}")
    return files


def load(name: str, files: dict[str, Path], source: str, num_classes: int = 10) -> Dataset:
    """Read the four `files` that `find` returned into a Dataset, images of any size as [N, H, W, 1].

    Raises:
        DataError: a file is damaged, or images and labels do not belong together.
    """
    arrays, sha256 = {}, {}
    for part, path in files.items():
        arrays[part], sha256[path.name] = read(path, PARTS[part])
    for split in ("train", "t10k"):
        images, labels = f"{split}-images", f"{split}-labels"
        if len(arrays[images]) != len(arrays[labels]):
            raise DataError(
                f"{files[labels]}: expected {len(arrays[images])} labels, one for each image of {files[images].name}, "
                f"found {len(arrays[labels])}; both files must come from one data set"
            )
        if (highest := arrays[labels].max()) >= num_classes:
            raise DataError(
                f"{files[labels]}: expected labels from 0 to {num_classes - 1}, found {highest}; "
                "replace the file with an intact copy"
            )
    train, test = arrays["train-images"].shape[1:], arrays["t10k-images"].shape[1:]
    if train != test:
        raise DataError(
            f"{files['train-images']}: expected images of {test[0]}x{test[1]}, as in {files['t10k-images'].name}, "
            f"found {train[0]}x{train[1]}; both files must come from one data set"
        )
    return Dataset(
        name=name,
        train=Split(arrays["train-images"][..., None], arrays["train-labels"].astype(np.int32)),
        test=Split(arrays["t10k-images"][..., None], arrays["t10k-labels"].astype(np.int32)),
        source=source,
        num_classes=num_classes,
        sha256=sha256,
    )


def read(path: Path, ndim: int) -> tuple[np.ndarray, str]:
    """Read one IDX file of bytes, gzip-compressed or not, which its first bytes tell and not its name.

    Returns:
        The values, read-only uint8 with `ndim` dimensions, and the sha256 of the file as it is on disk.

    Raises:
        DataError: the file cannot be read, or is not exactly what its header announces.
    """
    raw = _read_bytes(path)
    shape = _read_header(path, raw, ndim)
    start = 4 + 4 * ndim
    expected = start + math.prod(shape)
    if expected > MAX_BYTES:
        raise _damaged(path, f"the header announces {shape}; expected at most {MAX_BYTES} bytes, found {expected}")
    payload = _payload(path, raw, limit=expected + 1)
    if len(payload) != expected:
        found = "more" if len(payload) > expected else len(payload)
        raise _damaged(path, f"the header announces {shape}; expected {expected} bytes, found {found}")
    return np.frombuffer(payload, np.uint8, offset=start).reshape(shape), hashlib.sha256(raw).hexdigest()


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():  # also keeps a named pipe from blocking for ever
            raise DataError(f"{path}: expected a file, found a folder, a broken link or a device; remove or replace it")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise _damaged(path, f"expected at most {MAX_BYTES} bytes, found {size}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _read_header(path: Path, raw: bytes, ndim: int) -> tuple[int, ...]:
    size = 4 + 4 * ndim
    header = _payload(path, raw, limit=size)
    if len(header) < size:
        raise _damaged(path, f"expected a header of {size} bytes, found {len(header)}")
    magic, *shape = struct.unpack(f">{1 + ndim}I", header)
    if magic != 0x0800 + ndim:
        raise _damaged(path, f"expected magic number {0x0800 + ndim} (bytes, {ndim} dimensions), found {magic}")
    if 0 in shape:
        raise _damaged(path, f"expected a header of sizes above 0, found {tuple(shape)}")
    return tuple(shape)


def _payload(path: Path, raw: bytes, limit: int) -> bytes:
    """Return at most `limit` bytes of what `raw` holds, so that a gzip bomb never unfolds."""
    if not raw.startswith(b"\x1f\x8b"):
        return raw[:limit]
    gunzip = zlib.decompressobj(wbits=31)
    try:
        payload = gunzip.decompress(raw, limit)
    except zlib.error as error:
        raise _damaged(path, f"expected intact gzip data, found damage ({error})") from error
    if len(payload) < limit and not gunzip.eof:
        raise _damaged(path, f"expected complete gzip data, found it cut off after {len(raw)} bytes")
    if gunzip.unused_data:
        raise _damaged(path, f"expected nothing after the gzip data, found {len(gunzip.unused_data)} bytes")
    return payload


def _damaged(path: Path, finding: str) -> DataError:
    return DataError(f"{path}: {finding}; replace the file with an intact copy")
