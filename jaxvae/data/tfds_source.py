"""What tensorflow-datasets (TFDS) provides without TensorFlow: prepared folders, and downloads that it verifies.

TFDS cannot prepare MNIST without TensorFlow, so only the download is its work; `jaxvae.data.idx` reads the files.
This is the only module that imports TFDS.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from jaxvae.data.dataset import Dataset, Split, Unavailable
from jaxvae.data.network import why_unreachable
from jaxvae.errors import DataError


def _tfds() -> Any:
    """Import TFDS, only now because it takes half a second; typed Any because its own attributes are lazy imports."""
    import tensorflow_datasets

    return tensorflow_datasets


def read_prepared(name: str, root: Path) -> Dataset:
    """Read data set `name` from the TFDS data folder `root`, newest version, array_record format (10 s for MNIST).

    Raises:
        Unavailable: it is not there, or in a format that only TensorFlow reads.
        DataError: it is there and damaged.
    """
    infos = sorted(root.glob(f"{name}/*/dataset_info.json"))
    if not infos:
        raise Unavailable(f"not prepared in {root}")
    folder = infos[-1].parent
    with _quiet_and_brief(folder), _own_features():
        builder = _tfds().builder_from_directory(folder)
        formats = {file_format.value for file_format in builder.info.available_file_formats()}
        if "array_record" not in formats:
            raise Unavailable(
                f"{folder} is in {'/'.join(sorted(formats))} format and needs array_record (no TensorFlow here)"
            )
        splits = builder.as_data_source({"train": "train", "test": "test"}, file_format="array_record")
        paths = [Path(path) for split in splits for path in builder.info.splits[split].filepaths]
        return Dataset(
            name=name,
            train=_stack(splits["train"]),
            test=_stack(splits["test"]),
            source=f"{name}: prepared by tensorflow-datasets in {folder}",
            sha256={path.name: _sha256(path) for path in paths},
        )


def official_files(name: str) -> dict[str, Any]:
    """Return TFDS's checksum list of data set `name`: {url: UrlInfo with `filename`, `size`, `checksum` (sha256)}."""
    return dict(_tfds().builder_cls(name).url_infos)


def fetch(name: str, folder: Path) -> str:
    """Make `folder` hold the official files of data set `name`; only missing ones are downloaded, with a progress bar.

    Returns:
        The host that the files come from.

    Raises:
        Unavailable: files are missing and the server cannot be reached or breaks off. Nothing is left in `folder`.
        DataError: a file, downloaded or already there, is not the official one.
    """
    files = official_files(name)
    missing = {url: info for url, info in files.items() if not os.path.exists(folder / info.filename)}
    if missing:
        _download(name, missing, folder)
    for info in files.values():
        path = folder / info.filename
        if (found := _sha256(path)) != info.checksum:
            raise DataError(f"{path}: sha256: expected {info.checksum}, found {found}; delete it to download it again")
    return urlsplit(next(iter(files))).netloc


def _download(name: str, files: dict[str, Any], folder: Path) -> None:
    """Download into a temporary folder, and move to `folder` only when every file is there and verified."""
    with tempfile.TemporaryDirectory(prefix="jaxvae-", ignore_cleanup_errors=True) as staging:
        manager = _tfds().download.DownloadManager(
            download_dir=staging, url_infos=files, dataset_name=name, force_checksums_validation=True
        )
        # One by one: when one fails, TFDS leaves no other thread writing to the folder that is being removed.
        staged = {info.filename: _download_one(manager, url, info, Path(staging)) for url, info in files.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for filename, path in staged.items():
                _move(path, folder / filename)
        except OSError as error:
            raise Unavailable(f"cannot write to {folder} ({error.strerror}); set XDG_CACHE_HOME") from error


def _download_one(manager: Any, url: str, info: Any, staging: Path) -> Path:
    tfds = _tfds()
    # TFDS would retry a dead server, and every 50x answer, for more than three minutes.
    if reason := why_unreachable(url):
        raise Unavailable(f"cannot be downloaded ({reason})")
    try:
        return Path(manager.download(url))
    except tfds.core.download.download_manager.NonMatchingChecksumError as error:
        found = _sha256(next(staging.rglob("*.tmp.*/*")))  # where TFDS leaves what it refuses
        raise DataError(
            f"{url}: sha256: expected {info.checksum}, found {found}; nothing of it was kept: try again later, "
            "or put the official files in data_dir"
        ) from error
    except (tfds.download.DownloadError, OSError) as error:  # requests' exceptions are OSErrors
        raise Unavailable(f"cannot be downloaded (the transfer of {url} broke off: {type(error).__name__})") from error


def _move(path: Path, target: Path) -> None:
    """Move across file systems so that `target` is never seen half written, not even by another process."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(path, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _stack(examples: Any) -> Split:
    rows = [examples[i] for i in range(len(examples))]
    return Split(np.stack([row["image"] for row in rows]), np.array([row["label"] for row in rows], np.int32))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions, or delete it") from error


@contextlib.contextmanager
def _own_features() -> Iterator[None]:
    """TFDS imports every module that a features.json names, and so runs it: here only those of its own features."""
    connector = _tfds().features.FeatureConnector
    original = vars(connector)["cls_from_name"]

    def cls_from_name(cls: type, name: str) -> type:
        if not name.startswith("tensorflow_datasets.core.features."):
            raise ValueError(f"features.json names {name}, which is not a feature of TFDS")
        return original.__func__(cls, name)

    connector.cls_from_name = classmethod(cls_from_name)
    try:
        yield
    finally:
        connector.cls_from_name = original


@contextlib.contextmanager
def _quiet_and_brief(folder: Path) -> Iterator[None]:
    """Silence TFDS's warnings, and say in one line that `folder` cannot be read, whatever is raised."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # TFDS, protobuf, Pillow and array_record share no base class
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{folder}: cannot be read ({reason[:200]}); prepare it again or remove it") from error
    finally:
        logger.setLevel(level)
