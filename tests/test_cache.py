import os
import subprocess
import sys
from pathlib import Path

from jaxvae.cache import cache_dir


def test_follows_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "jaxvae"
    assert not cache_dir().exists()


def test_ignores_unset_empty_and_relative_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = Path(tmp_path) / ".cache" / "jaxvae"
    for value in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_dir() == expected
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == expected


def test_a_command_keeps_what_it_compiles(tmp_path):
    code = """
import jax
from jaxvae import cli
cli.use_compilation_cache()
jax.jit(lambda x: x + 1)(1.0)
"""
    others = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = {**others, "XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": os.environ["JAX_PLATFORMS"]}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list((tmp_path / "jaxvae" / "xla").iterdir())
