import subprocess
import sys
import time

import numpy as np
import pytest

from jaxvae.data import NAMES, load
from jaxvae.errors import ConfigError, DataError


@pytest.fixture
def offline(monkeypatch, closed_port):
    """No network: the proxy that every download would go through is a closed port."""
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{closed_port}")


def folders_under(path):
    return sorted(path.rglob("*"))


def test_unknown_name_is_refused(assert_one_line):
    with pytest.raises(ConfigError) as error:
        load("mnits")
    assert_one_line(error, "name='mnits'", *NAMES)


def test_digits_need_nothing(offline):
    dataset = load("digits")
    assert dataset.name == "digits"
    assert dataset.source == "scikit-learn's 1,797 8x8 digits brought to 28x28"


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "auto"])
@pytest.mark.parametrize("nested", [True, False])
def test_reads_idx_files(offline, tmp_path, random_arrays, write_idx_files, name, nested):
    folder = tmp_path / "data" / ("mnist" if name == "auto" else name) if nested else tmp_path / "data"
    arrays = random_arrays()
    write_idx_files(folder, arrays, compress=nested)
    dataset = load(name, tmp_path / "data")
    np.testing.assert_array_equal(dataset.test.image[..., 0], arrays["test"][0])
    assert dataset.name == ("mnist" if name == "auto" else name)
    assert dataset.source == f"{dataset.name}: IDX files in {folder}"
    assert set(dataset.sha256) == {path.name for path in folder.iterdir()}


def test_data_dir_falls_back_to_the_environment(offline, tmp_path, random_arrays, write_idx_files, monkeypatch):
    write_idx_files(tmp_path / "one" / "mnist", random_arrays(seed=1))
    write_idx_files(tmp_path / "two" / "mnist", random_arrays(seed=2))
    monkeypatch.setenv("JAXVAE_DATA_DIR", str(tmp_path / "one"))
    assert str(tmp_path / "one") in load("mnist").source
    assert str(tmp_path / "two") in load("mnist", tmp_path / "two").source


def test_the_named_folder_comes_before_the_folder_itself(offline, tmp_path, random_arrays, write_idx_files):
    write_idx_files(tmp_path / "data", random_arrays(seed=1))
    write_idx_files(tmp_path / "data" / "mnist", random_arrays(seed=2))
    assert load("mnist", tmp_path / "data").source.endswith(str(tmp_path / "data" / "mnist"))


def test_a_folder_named_mnist_is_never_taken_for_fashion_mnist(offline, tmp_path, random_arrays, write_idx_files):
    write_idx_files(tmp_path / "mnist", random_arrays())
    load("mnist", tmp_path / "mnist")
    with pytest.raises(DataError):
        load("fashion_mnist", tmp_path / "mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_offline_error_is_quick_and_names_every_place(offline, tmp_path, assert_one_line, name):
    before = folders_under(tmp_path)
    start = time.perf_counter()
    with pytest.raises(DataError) as error:
        load(name, tmp_path / "given")
    assert time.perf_counter() - start < 5
    assert_one_line(
        error,
        f"{name} is not on disk (looked for IDX files in {tmp_path / 'given' / name} and {tmp_path / 'given'})",
        f"not prepared in {tmp_path / 'prepared'}",
        "cannot be downloaded (no connection to ",
        "JAXVAE_DATA_DIR",
    )
    assert folders_under(tmp_path) == before


def test_auto_offline_is_digits_and_says_why(offline, tmp_path, assert_one_line):
    before = folders_under(tmp_path)
    start = time.perf_counter()
    dataset = load("auto", tmp_path)
    assert time.perf_counter() - start < 5
    assert dataset.name == "digits"
    assert_one_line(
        dataset.source,
        "digits: scikit-learn's 1,797 8x8 digits brought to 28x28, because mnist is not on disk",
        str(tmp_path / "mnist"),
        "cannot be downloaded (no connection to storage.googleapis.com",
    )
    assert folders_under(tmp_path) == before


def test_auto_is_digits_within_5_seconds_of_hanging_dns(hanging_dns):
    start = time.perf_counter()
    dataset = load("auto")
    assert time.perf_counter() - start < 5
    assert "no connection to storage.googleapis.com (no answer in 2.5 s)" in dataset.source


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_damaged_files_are_an_error_and_not_passed_over(
    offline, tmp_path, random_arrays, write_idx_files, assert_one_line, name
):
    write_idx_files(tmp_path / "mnist", random_arrays())
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError) as error:
        load(name, tmp_path)
    assert_one_line(error, str(path), "cut off")
    path.unlink()
    with pytest.raises(DataError) as error:
        load(name, tmp_path)
    assert_one_line(error, "add t10k-images-idx3-ubyte[.gz]")


def test_other_image_sizes_and_binary_pixels_are_refused(
    offline, tmp_path, random_arrays, write_idx_files, assert_one_line
):
    write_idx_files(tmp_path, random_arrays(size=32))
    with pytest.raises(DataError) as error:
        load("mnist", tmp_path)
    assert_one_line(error, str(tmp_path), "train-images-idx3-ubyte.gz: expected 28x28x1, found 32x32x1")
    arrays = random_arrays()
    images, labels = arrays["test"]
    write_idx_files(tmp_path, arrays | {"test": (images // 128, labels)})
    with pytest.raises(DataError) as error:
        load("mnist", tmp_path)
    assert_one_line(error, str(tmp_path), "t10k-images-idx3-ubyte.gz: expected pixels from 0 to 255, found 0 to 1")


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_a_data_dir_that_is_no_folder_is_refused(offline, tmp_path, assert_one_line, name):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for bad in ("file", "loop", "nowhere"):
        with pytest.raises(DataError) as error:
            load(name, tmp_path / bad)
        assert_one_line(error, f"data_dir is {tmp_path / bad}: expected a folder")
    with pytest.raises(DataError) as error:
        load(name, tmp_path / ("x" * 300))
    assert_one_line(error, "cannot be listed (File name too long)")
    with pytest.raises(DataError) as error:
        load(name, "~nobody-of-this-name/data")
    assert_one_line(error, "data_dir is ~nobody-of-this-name/data: ", "in full")


def test_importing_the_package_is_cheap():
    heavy = "{'jax', 'sklearn', 'tensorflow_datasets', 'requests'}"
    code = f"import sys, jaxvae.data; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_files(offline, real_data_dir, name):
    if not (real_data_dir / name).is_dir():
        pytest.skip(f"JAXVAE_DATA_DIR has no {name}/")
    dataset = load(name, real_data_dir)
    assert dataset.train.image.shape == (60000, 28, 28, 1)
    assert dataset.test.image.shape == (10000, 28, 28, 1)
    assert len(np.unique(dataset.train.label)) == 10
    mean = {"mnist": 0.1307, "fashion_mnist": 0.2860}[name]  # the published means of the training pixels
    assert dataset.train.image.mean() / 255 == pytest.approx(mean, abs=1e-4)
