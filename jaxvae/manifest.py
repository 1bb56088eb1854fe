"""What a checkpoint's folder holds, by the sha256 of every file: how damage, and what belongs elsewhere, is found."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvae.errors import CheckpointError, first_line

MANIFEST = "manifest.json"
FIELDS = {"epoch": int, "run": dict, "leaves": dict, "files": dict, "history": list}
OF_A_ROW = {"member", "seed", "epoch", "split", "loss", "reconstruction", "kl", "steps", "alive"}


def write_manifest(
    folder: Path, epoch: int, run: Mapping[str, Any], leaves: Mapping[str, str], history: list[dict[str, Any]]
) -> None:
    """Beside the files of a checkpoint: its epoch, what makes its run what it is, its arrays' types, its history."""
    sums = {name: sha256(path) for name, path in files(folder).items()}
    body = {"epoch": epoch, "run": run, "leaves": leaves, "files": sums, "history": history}
    (folder / MANIFEST).write_text(json.dumps({"sha256": text_sha256(body), **body}), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, with the `FIELDS`.

    Raises:
        ValueError: it is not one, or not as it was written.
        OSError: it cannot be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is not as it was written: {first_line(error)}") from error
    if not isinstance(manifest, dict) or manifest.pop("sha256", None) != text_sha256(manifest):
        raise ValueError(f"{MANIFEST} is not as it was written: its sha256 is another")
    rows = manifest.get("history")
    whole = isinstance(rows, list) and all(isinstance(row, dict) and row.keys() >= OF_A_ROW for row in rows)
    if not whole or {name: type(value) for name, value in manifest.items()} != FIELDS:
        raise ValueError(f"{MANIFEST} is of another version")
    return manifest


def damage(folder: Path) -> str | None:
    """What in a checkpoint's folder is not as it was saved; None for nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return "it is not a folder"
    if not (folder / MANIFEST).is_file():
        return f"{MANIFEST} is missing"
    try:
        manifest = read_manifest(folder)
        found, expected = files(folder), manifest["files"]
        found.pop(MANIFEST)
        if manifest["epoch"] != int(folder.name):
            return f"it is of epoch {manifest['epoch']}"
        for name in sorted(found.keys() | expected.keys()):
            if name not in found:
                return f"{name} is missing"
            if name not in expected:
                return f"{name} does not belong to it"
            if sha256(found[name]) != expected[name]:
                return f"{name} is not as it was written: its sha256 is another"
    except (OSError, ValueError) as error:
        return first_line(error)
    return None


def files(folder: Path) -> dict[str, Path]:
    """Relative name -> path of everything in `folder` that is no folder; links are not followed."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(folder)): path for path in paths}


def sha256(path: Path) -> str:
    """The sha256 of a file.

    Raises:
        ValueError: it is a link, a pipe or another thing that is no file.
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name} is not a plain file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(body: Any) -> str:
    """The sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def state_sha256(tree: Any) -> str:
    """The sha256 of every array of a pytree on the host: its path, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name, leaf in named_leaves(tree).items():
        digest.update(f"{name} {leaf.dtype}{list(leaf.shape)}\n".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def compare(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse what is of another run or model, and what Orbax would silently cast or drop.

    Raises:
        CheckpointError: naming the first difference.
    """
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{path}: {name} is {found.get(name, 'missing')}, but this run needs "
                f"{wanted.get(name, 'nothing there')}; is it another run's, or were its settings changed?"
            )


def leaf_types(tree: Any) -> dict[str, str]:
    """Path -> 'dtype[shape]' of every array."""
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in named_leaves(tree).items()}


def named_leaves(tree: Any) -> dict[str, Any]:
    """Path -> array."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
