"""The package's shape: imports point one way, and each heavy library has one importer."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxvae"
ORDER = [  # each may import what stands before it
    {"errors", "cache", "labels", "geometry", "morphology", "interrupt"},
    {"config", "files"},
    {"types", "data", "flags", "report", "plots"},
    {"losses", "models", "batches", "parallel", "processes"},
    {"cli"},
    {"objective"},
    {"train", "metrics", "latent"},
    {"sweep"},
    {"feeding"},
    {"fit"},
    {"checkpoint", "runs", "progress", "tables", "figures"},
    {"sweep_report", "resuming"},
    {"summary"},
    {"experiment"},
]
ONLY_IMPORTER = {
    "orbax": {"checkpoint"},
    "matplotlib": {"plots"},
    "tensorflow_datasets": {"data"},
    "sklearn": {"data", "geometry"},
    "PIL": {"plots"},
    "tyro": {"cli", "flags"},
    "tqdm": {"progress"},
    "dm_pix": {"metrics"},
}


def module_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Every dotted name that a file imports, `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def level(module):
    (found,) = [k for k, names in enumerate(ORDER) if module in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    module = module_of(path)
    for name in imports(path):
        package, *rest = name.split(".")
        assert package != "experiments"
        if package == "jaxvae" and rest and rest[0] != module:
            assert level(rest[0]) < level(module) or {rest[0], module} <= {"data", "cache"}, f"{module} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_heavy_library_has_its_importer(path):
    for name in imports(path):
        allowed = ONLY_IMPORTER.get(name.split(".")[0])
        assert allowed is None or module_of(path) in allowed, f"{path.name} imports {name}"


def test_no_unsafe_loading_anywhere():
    for path in [*FILES, *(ROOT / "experiments").glob("*.py")]:
        for name in imports(path):
            assert name.split(".")[0] not in {"pickle", "dill", "cloudpickle", "marshal", "shelve"}, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec"}, path
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", path
