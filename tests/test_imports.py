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
    {"losses", "models", "batches", "parallel", "processes", "manifest"},
    {"kernels"},
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


SOURCES = sorted(path for name in ("jaxvae", "experiments", "tests/soak") for path in (ROOT / name).rglob("*.py"))
RUNS_WHAT_IT_READS = {"pickle", "_pickle", "dill", "cloudpickle", "jsonpickle", "marshal", "shelve", "joblib", "runpy"}
NEVER_CALLED = {
    *("builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__", "importlib.import_module"),
    *("os.system", "os.popen", "tempfile.mktemp", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
}
ONLY_WITH = {"numpy.load": ("allow_pickle", False), "jax.numpy.load": ("allow_pickle", False)}
ONLY_WITH |= {"torch.load": ("weights_only", True)}
ONLY_AS = {"allow_pickle": False, "shell": False, "weights_only": True}


def unsafe(source):
    """What in a module runs code that it reads, or a shell, or names a file that another may make first."""
    tree, names = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                names[alias.asname or alias.name] = start + alias.name
                if (start + alias.name).split(".")[0] in RUNS_WHAT_IT_READS:
                    yield f"imports {start}{alias.name}"
    for name in (node.id for node in ast.walk(tree) if isinstance(node, ast.Name)):
        if names.get(name, f"builtins.{name}") in NEVER_CALLED:
            yield f"uses {name}"
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        first, dot, rest = ast.unparse(node.func).partition(".")
        called = names.get(first, first) + dot + rest
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        constants = {name: value.value for name, value in given.items() if isinstance(value, ast.Constant)}
        if called in NEVER_CALLED or called.endswith(".read_pickle"):
            yield f"calls {called}"
        if called in ONLY_WITH and constants.get(ONLY_WITH[called][0]) is not ONLY_WITH[called][1]:
            yield f"calls {called} without {ONLY_WITH[called]}"
        for name in given.keys() & ONLY_AS.keys():
            if constants.get(name) is not ONLY_AS[name]:
                yield f"calls {called} with another {name} than {ONLY_AS[name]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(path):
    assert list(unsafe(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from pickle import loads", "import dill as json", "import joblib.numpy_pickle"),
        *("eval(x)", "exec(x)", "compile(x, '', 'exec')", "__import__(x)", "map(eval, x)"),
        *("import numpy as np; np.load(x)", "from numpy import load; load(x)", "import jax.numpy as jnp; jnp.load(x)"),
        *("import numpy; numpy.load(x, allow_pickle=y)", "f(allow_pickle=True)", "import yaml; yaml.load(x)"),
        *("import torch; torch.load(x)", "import torch; torch.load(x, weights_only=False)", "frame.read_pickle(x)"),
        *("import os; os.system(x)", "from os import popen as p; p(x)", "import subprocess as s; s.run(x, shell=True)"),
        *("from tempfile import mktemp; mktemp()", "from builtins import eval as e; e(x)"),
        *("import importlib; importlib.import_module(x)", "from importlib import import_module; import_module(x)"),
    ],
)
def test_what_runs_what_it_reads_is_noticed(source):
    """The negative control."""
    assert list(unsafe(source))


def test_what_does_not_is_let_pass():
    source = "import re, json, torch, numpy as np; re.compile(x); json.load(f); f.lower().compile(); model.eval()"
    assert not list(unsafe(f"{source}; np.load(x, allow_pickle=False); torch.load(x, weights_only=True)"))
