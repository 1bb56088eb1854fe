"""The real files where JAXVAE_DATA_DIR has them, and a user without data, cache or network."""

import os
import socket
import threading
from pathlib import Path

import pytest

REAL_DATA_DIR = os.environ.get("JAXVAE_DATA_DIR")  # read before `isolated` hides it


def check_one_line(error, *fragments):
    """Assert that a pytest ExceptionInfo or exception is one line that holds every fragment."""
    text = str(getattr(error, "value", error))
    assert "\n" not in text
    for fragment in fragments:
        assert fragment in text


@pytest.fixture(scope="session")
def assert_one_line():
    return check_one_line


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No data, cache, prepared folder, home or proxy of the person who runs the tests is seen."""
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for variable in ("JAXVAE_DATA_DIR", *proxies, *map(str.upper, proxies)):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))


@pytest.fixture
def hanging_dns(monkeypatch):
    """Every host name look-up hangs until the test is over."""
    over = threading.Event()

    def hang(*args, **kwargs):
        over.wait()
        raise socket.gaierror("the test is over")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield
    over.set()


@pytest.fixture
def closed_port():
    """A port of 127.0.0.1 that refuses connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def real_data_dir():
    if not REAL_DATA_DIR:
        pytest.skip("JAXVAE_DATA_DIR is not set")
    return Path(REAL_DATA_DIR)
