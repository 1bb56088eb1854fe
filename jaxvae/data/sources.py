"""The data sets by name, and the order in which their sources are tried."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from jaxvae.cache import cache_dir
from jaxvae.data import digits, idx, tfds_source
from jaxvae.data.dataset import Dataset, Unavailable
from jaxvae.errors import ConfigError, DataError

NAMES = ("auto", "mnist", "fashion_mnist", "digits")
_IDX_NAMES = ("mnist", "fashion_mnist")


def load(name: str = "auto", data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set by name, as uint8 images [N, 28, 28, 1] with labels.

    `mnist` and `fashion_mnist` come from the first source that has them: IDX files in `data_dir/name/` or `data_dir`;
    a folder that tensorflow-datasets prepared as array_record (`$TFDS_DATA_DIR`, by default ~/tensorflow_datasets);
    the cache folder, filled by a download that tensorflow-datasets verifies. `digits` is scikit-learn's embedded set.
    `auto` is `mnist`, or `digits` where no source has MNIST; `Dataset.source` says which, and why.

    Args:
        name: one of `NAMES`.
        data_dir: folder with IDX files; None for the environment variable JAXVAE_DATA_DIR, if that is set.

    Raises:
        ConfigError: there is no such name.
        DataError: no source has the data set; or one has it damaged, or `data_dir` is no folder: then no other is
            tried, not even by `auto`.
    """
    if name not in NAMES:
        raise ConfigError(f"data set name={name!r}: there is no such data set; choose one of {', '.join(NAMES)}")
    if name == "digits":
        return digits.load_digits()
    data_dir = data_dir or os.environ.get("JAXVAE_DATA_DIR")
    root = _folder(data_dir) if data_dir else None
    if name != "auto":
        return _first(name, root)
    try:
        return _first("mnist", root)
    except Unavailable as why:
        return digits.load_digits(f"digits: {digits.DESCRIPTION}, because {why}")


def _folder(data_dir: str | os.PathLike[str]) -> Path:
    """`data_dir` as a path; what is not there may be elsewhere, but a file in its place is an error."""
    try:
        folder = Path(data_dir).expanduser()
    except RuntimeError as error:  # ~somebody
        raise DataError(f"data_dir is {data_dir}: {error}; write the folder's name in full") from error
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise DataError(f"data_dir is {folder}: expected a folder, found a file, a broken link or a device")
    return folder


def _first(name: str, data_dir: Path | None) -> Dataset:
    """Return `name` from the first source that has it, its sentence saying which sources did not.

    Raises:
        Unavailable: none has it.
        DataError: one has it, damaged.
    """
    sources: tuple[Callable[[], Dataset], ...] = (
        lambda: _from_data_dir(name, data_dir),
        lambda: tfds_source.read_prepared(name, _tfds_dir()),
        lambda: _from_cache(name, cache_dir() / "data" / name),
    )
    misses: list[str] = []
    for source in sources:
        try:
            dataset = source()
        except Unavailable as miss:
            misses.append(str(miss))
            continue
        _check(dataset)
        return dataclasses.replace(dataset, source="; ".join([dataset.source, *misses]))
    raise Unavailable(
        f"{name} is {'; '.join(misses)}; to mend: put its four IDX files in a folder and give it as data_dir "
        "or JAXVAE_DATA_DIR"
    )


def _from_data_dir(name: str, data_dir: Path | None) -> Dataset:
    if data_dir is None:
        raise Unavailable("not on disk (no data_dir given, JAXVAE_DATA_DIR not set)")
    folders = [data_dir / name]
    if data_dir.name not in _IDX_NAMES or data_dir.name == name:  # .../mnist itself never holds fashion_mnist
        folders.append(data_dir)
    for folder in folders:
        if files := idx.find(folder):
            return idx.load(name, files, source=f"{name}: IDX files in {folder}")
    raise Unavailable(f"not on disk (looked for IDX files in {' and '.join(map(str, folders))})")


def _tfds_dir() -> Path:
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _from_cache(name: str, folder: Path) -> Dataset:
    host = tfds_source.fetch(name, folder)
    return idx.load(name, idx.find(folder), source=f"{name}: the official files of {host}, verified, in {folder}")


def _check(dataset: Dataset) -> None:
    """Raise DataError unless images are 28x28 grey and use the byte range: 0/1 pixels would train as all black."""
    for name, split, start in (("train", dataset.train, "train-images"), ("test", dataset.test, "t10k-images")):
        file = next((file for file in dataset.sha256 if file.startswith(start)), f"{name} images")
        where = f"{dataset.source}: {file}"
        if split.image.shape[1:] != (28, 28, 1):
            found = "x".join(map(str, split.image.shape[1:]))
            raise DataError(f"{where}: expected 28x28x1, found {found}; give the folder of the right data set")
        if (highest := split.image.max()) <= 1:
            raise DataError(f"{where}: expected pixels from 0 to 255, found 0 to {highest}; replace the file")
