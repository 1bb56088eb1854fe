"""Damaged IDX files: each is read as what it was, or refused in one line that names it; in little memory and time."""

import gzip
import random
import signal
import struct
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae import data
from jaxvae.data.dataset import Dataset
from jaxvae.errors import DataError
from tests.soak.outcome import Outcome

PROMISE = "a damaged data file is read as it was or refused by name, in less than 50 MB and 10 s"
SECONDS = 10
MOST_BYTES = 50 * 2**20
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class Hang(BaseException):
    """It took too long."""


def run(count: int, seed: int, work: Path) -> Outcome:
    """`count` damages of one of four small files, packed or not."""
    rng = random.Random(seed)
    intact = {packed: write_valid_files(work / name, packed) for packed, name in ((True, "packed"), (False, "plain"))}
    original = data.load("mnist", work / "plain")
    kinds, outcomes, failures, peak = Counter[str](), Counter[str](), [], 0
    handler = signal.signal(signal.SIGALRM, hang)
    tracemalloc.start()
    try:
        for number in range(count):
            packed = rng.random() < 0.5
            files = intact[packed]
            path = rng.choice(list(files))
            kind, damaged = damage(rng, path, files, packed)
            path.write_bytes(damaged)
            tracemalloc.reset_peak()
            signal.alarm(SECONDS)
            outcome, wrong = load(path, original)
            signal.alarm(0)
            used = tracemalloc.get_traced_memory()[1]
            peak = max(peak, used)
            path.write_bytes(files[path])
            kinds[kind] += 1
            outcomes[outcome] += 1
            if used > MOST_BYTES:
                wrong = f"needs {used} bytes"
            if wrong:
                failures.append(f"{number}: {kind} of {path.name}: {wrong}")
    finally:
        tracemalloc.stop()
        signal.signal(signal.SIGALRM, handler)
    figures = {
        "files": count,
        "damages": dict(sorted(kinds.items())),
        "outcomes": dict(outcomes.most_common()),
        "peak memory": f"{peak / 2**20:.1f} MiB",
    }
    return Outcome(PROMISE, figures, failures)


def hang(*_: Any) -> None:
    """What the alarm does."""
    raise Hang


def write_valid_files(folder: Path, packed: bool = True) -> dict[Path, bytes]:
    """A data set of 40 and 20 small images under the official names: path -> content."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    written = {}
    for name, images in zip(NAMES, (40, 40, 20, 20), strict=True):
        if "images" in name:
            header, values = (2051, images, 28, 28), rng.integers(0, 256, (images, 28, 28), np.uint8)
        else:
            header, values = (2049, images), np.arange(images, dtype=np.uint8) % 10
        content = struct.pack(f">{len(header)}I", *header) + values.tobytes()
        path = folder / (f"{name}.gz" if packed else name)
        written[path] = gzip.compress(content, 1, mtime=0) if packed else content
        path.write_bytes(written[path])
    return written


def load(path: Path, original: Dataset) -> tuple[str, str]:
    """What becomes of a data set with a damaged file, and what is wrong about that, if anything is."""
    try:
        found = data.load("mnist", path.parent)
    except DataError as error:
        text = str(error)
        if path.name not in text or "\n" in text or len(text) > 1000:
            return "refused", f"refused with {text[:300]!r}"
        return "refused", ""
    except Hang:
        return "hang", f"took {SECONDS} s"
    except BaseException as error:
        return type(error).__name__, f"{type(error).__name__}: {error}"
    same = all(
        np.array_equal(ours, theirs) and ours.dtype == theirs.dtype
        for split in ("train", "test")
        for ours, theirs in zip(getattr(found, split), getattr(original, split), strict=True)
    )
    return ("the same", "") if same else ("other values", "read with other values")


def damage(rng: random.Random, path: Path, files: dict[Path, bytes], packed: bool) -> tuple[str, bytes]:
    """One damage, by name, and the content that it makes of a file's.

    Where a file is not packed nothing tells that a pixel or a label has changed, so there values stay as they are.
    """
    raw = files[path]
    content = gzip.decompress(raw) if packed else raw
    header = 16 if "images" in path.name else 8
    kinds = {
        "truncation": lambda: raw[: rng.randrange(len(raw))],
        "insertion": lambda: spliced(rng, raw, 0),
        "deletion": lambda: spliced(rng, raw, rng.randint(1, 9)),
        "random bytes": lambda: rng.randbytes(rng.randint(0, 2000)),
        "random gzip data": lambda: b"\x1f\x8b\x08" + rng.randbytes(rng.randint(0, 2000)),
        "another part": lambda: rng.choice([files[other] for other in files if other != path]),
        "forged header": lambda: repacked(forged(rng, content, header), packed),
        "flipped header bit": lambda: repacked(flipped(rng, content, header), packed),
        "longer": lambda: raw + rng.randbytes(rng.randint(1, 50)),
        "twice": lambda: raw + raw,
        "packed again": lambda: gzip.compress(raw, 1),
        "bomb": lambda: gzip.compress(content[:header] + bytes(rng.randint(0, 2**22)), 1),
    }
    if packed:
        kinds["flipped bit"] = lambda: flipped(rng, raw, len(raw))
        kinds["overwritten"] = lambda: spliced(rng, raw, 4, 4)
    if "images" in path.name:
        kinds["another shape"] = lambda: repacked(reshaped(rng, content), packed)
        kinds["bits for bytes"] = lambda: repacked(content[:16] + bytes(value % 2 for value in content[16:]), packed)
    else:
        kinds["wrong label"] = lambda: repacked(with_wrong_label(rng, content), packed)
    kind = rng.choice(list(kinds))
    return kind, kinds[kind]()


def repacked(content: bytes, packed: bool) -> bytes:
    """`content` with a right checksum, so that only what it says is wrong."""
    return gzip.compress(content, 1) if packed else content


def spliced(rng: random.Random, raw: bytes, removed: int, added: int | None = None) -> bytes:
    """Some bytes taken out somewhere, or others put in."""
    place = rng.randint(0, len(raw) - removed)
    new = rng.randbytes(rng.randint(1, 9) if added is None and not removed else added or 0)
    return raw[:place] + new + raw[place + removed :]


def flipped(rng: random.Random, raw: bytes, end: int) -> bytes:
    """One bit of the first `end` bytes the other way."""
    changed = bytearray(raw)
    changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def forged(rng: random.Random, content: bytes, header: int) -> bytes:
    """A header that says something else, from a little to as much as there can be."""
    fields = list(struct.unpack(f">{header // 4}I", content[:header]))
    place = rng.randrange(len(fields))
    others = (0, 1, 2**31, 2**32 - 1, fields[place] - 1, fields[place] + 1, fields[place] * 2, rng.randrange(2**32))
    fields[place] = rng.choice([value for value in others if value != fields[place]])
    return struct.pack(f">{len(fields)}I", *fields) + content[header:]


def reshaped(rng: random.Random, content: bytes) -> bytes:
    """As many values as images of another shape."""
    images, rows, columns = struct.unpack(">3I", content[4:16])
    others = ((images, rows * 2, columns // 2), (images * 2, rows // 2, columns), (images // 4, rows * 2, columns * 2))
    return content[:4] + struct.pack(">3I", *rng.choice(others)) + content[16:]


def with_wrong_label(rng: random.Random, content: bytes) -> bytes:
    """One label of 10 or more."""
    changed = bytearray(content)
    changed[rng.randrange(8, len(changed))] = rng.randint(10, 255)
    return bytes(changed)
