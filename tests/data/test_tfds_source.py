import functools
import gzip
import hashlib
import http.server
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from experiments.beta_sweep import BetaSweep, run
from jaxvae import cli
from jaxvae.data import load, tfds_source
from jaxvae.data.dataset import Unavailable
from jaxvae.errors import DataError

FEATURES = {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=10)}


def encode_png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def prepare(folder, arrays):
    """Write what `download_and_prepare` with file_format="array_record" would, which itself needs TensorFlow."""
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(FEATURES)
    infos = []
    for split, (images, labels) in arrays.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name="mnist", split=split, filetype_suffix="array_record"
        )
        writer = ArrayRecordWriter(str(template.sharded_filepath(shard_index=0, num_shards=1)), "group_size:1")
        for image, label in zip(images, labels, strict=True):
            example = features.encode_example({"image": encode_png(image), "label": int(label)})
            writer.write(features.serialize_example(example))
        writer.close()
        infos.append(
            tfds.core.SplitInfo(name=split, shard_lengths=[len(images)], num_bytes=0, filename_template=template)
        )
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=infos, check_data=False)


@pytest.fixture
def prepared(tmp_path, random_arrays):
    """The folder of a prepared MNIST under TFDS_DATA_DIR, and the arrays that went into it."""
    arrays = random_arrays()
    folder = tmp_path / "prepared" / "mnist" / "3.0.1"
    prepare(folder, arrays)
    return folder, arrays


class Server(http.server.ThreadingHTTPServer):
    """Serves the four files of a folder, recording every path that is asked for; `cut` promises more than it sends."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.asked, self.cut = [], None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path != self.server.cut:
            return super().do_GET()
        data = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])

    def log_message(self, *args):
        pass


def serve(folder, files, monkeypatch):
    """Start a server for `folder` in place of the official one; `files` is {file name: UrlInfo}."""
    server = Server(folder)
    monkeypatch.setattr(
        tfds_source, "official_files", lambda name: {server.url + filename: info for filename, info in files.items()}
    )
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def official(tmp_path, random_arrays, write_idx_files, monkeypatch):
    """A loopback server with a synthetic MNIST, whose checksums are the official ones for this test."""
    folder = tmp_path / "served"
    write_idx_files(folder, random_arrays())
    files = {}
    for path in folder.iterdir():
        data = path.read_bytes()
        files[path.name] = tfds.core.download.checksums.UrlInfo(
            size=len(data), checksum=hashlib.sha256(data).hexdigest(), filename=path.name
        )
    server = serve(folder, files, monkeypatch)
    yield server, folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "jaxvae" / "data" / "mnist"


def test_reads_prepared_folder(prepared):
    folder, arrays = prepared
    dataset = load("mnist")
    for split, (images, labels) in (("train", arrays["train"]), ("test", arrays["test"])):
        found = getattr(dataset, split)
        np.testing.assert_array_equal(found.image[..., 0], images)
        np.testing.assert_array_equal(found.label, labels)
    assert dataset.source.startswith(f"mnist: prepared by tensorflow-datasets in {folder}")
    shards = folder.glob("*array_record-*")
    assert dataset.sha256 == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_a_prepared_folder_cannot_name_code_to_run(tmp_path, prepared, monkeypatch, assert_one_line, key):
    """TFDS imports the module of a feature that it does not know; Python looks for it in the current folder first."""
    folder, _ = prepared
    (tmp_path / "planted_feature.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    feature = {key: "planted_feature.Feature", **({"content": {}} if key == "type" else {})}
    (folder / "features.json").write_text(json.dumps(feature))
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps({**info, "moduleName": "planted_feature"}))
    with pytest.raises(DataError) as error:
        load("mnist")
    assert_one_line(error, str(folder), "features.json names planted_feature.Feature, which is not a feature of TFDS")
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("prepared")
def test_prepared_folder_reads_quietly():
    """In a process of its own, because TFDS gives some of its warnings only once."""
    code = "from jaxvae.data import load; load('mnist')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_idx_files_come_before_the_prepared_folder(prepared, tmp_path, random_arrays, write_idx_files):
    arrays = random_arrays(seed=1)
    write_idx_files(tmp_path / "idx", arrays)
    np.testing.assert_array_equal(load("mnist", tmp_path / "idx").train.image[..., 0], arrays["train"][0])


def test_tfrecord_folder_is_named_and_passed_over(prepared, official, assert_one_line):
    folder, _ = prepared
    info = folder / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(Unavailable) as error:
        tfds_source.read_prepared("mnist", folder.parents[1])
    assert_one_line(error, f"{folder} is in tfrecord format and needs array_record")
    assert "is in tfrecord format and needs array_record" in load("mnist").source


@pytest.mark.parametrize("damage", ["missing shard", "cut shard", "bad json", "no features"])
def test_damaged_prepared_folder_is_refused(prepared, official, assert_one_line, damage):
    folder, _ = prepared
    shard = next(folder.glob("mnist-train*"))
    if damage == "missing shard":
        shard.unlink()
    elif damage == "cut shard":
        shard.write_bytes(shard.read_bytes()[:1000])
    elif damage == "bad json":
        (folder / "dataset_info.json").write_text("{")
    else:
        (folder / "features.json").unlink()
    with pytest.raises(DataError) as error:
        load("auto")
    assert_one_line(error, f"{folder}: cannot be read (", "prepare it again or remove it")


def test_downloads_verifies_and_caches(official, cache, random_arrays, capfd):
    server, folder = official
    dataset = load("mnist")
    np.testing.assert_array_equal(dataset.train.image[..., 0], random_arrays()["train"][0])
    assert sorted(path.name for path in cache.iterdir()) == sorted(path.name for path in folder.iterdir())
    assert dataset.sha256 == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    assert dataset.source.startswith(
        f"mnist: the official files of 127.0.0.1:{server.server_port}, verified, in {cache}"
    )
    assert "Dl Completed" in capfd.readouterr().err  # the progress bar
    server.asked.clear()
    assert load("auto").name == "mnist"
    assert server.asked == []
    assert capfd.readouterr() == ("", "")


def test_only_missing_files_are_downloaded(official, cache):
    server, _ = official
    load("mnist")
    server.asked.clear()
    (cache / "train-labels-idx1-ubyte.gz").unlink()
    load("mnist")
    assert server.asked == ["/train-labels-idx1-ubyte.gz"]


def test_wrong_checksum_is_refused(official, cache, assert_one_line):
    _, folder = official
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=1))
    with pytest.raises(DataError) as error:
        load("auto")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert_one_line(error, "/t10k-labels-idx1-ubyte.gz: sha256: expected", f"found {found}", "nothing of it was kept")
    assert not cache.parents[1].exists()


def test_broken_transfer_is_refused(official, cache, tmp_path, assert_one_line):
    server, _ = official
    server.cut = "/train-images-idx3-ubyte.gz"
    with pytest.raises(DataError) as error:
        load("mnist")
    assert_one_line(error, f"the transfer of {server.url}train-images-idx3-ubyte.gz broke off")
    assert not cache.parents[1].exists()
    assert load("auto").name == "digits"


def test_missing_file_on_the_server_is_refused_at_once(official, cache, assert_one_line):
    _, folder = official
    (folder / "train-images-idx3-ubyte.gz").unlink()
    start = time.perf_counter()
    with pytest.raises(DataError) as error:
        load("mnist")
    assert time.perf_counter() - start < 5
    assert_one_line(error, "127.0.0.1 answered HTTP 404")
    assert not cache.parents[1].exists()


def test_damaged_cache_is_refused(official, cache, assert_one_line):
    load("mnist")
    path = cache / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError) as error:
        load("auto")
    assert_one_line(error, f"{path}: sha256: expected ", "delete it to download it again")


def test_unwritable_cache_is_named(official, cache, assert_one_line):
    cache.parents[2].write_text("a file where the cache folder should be")
    with pytest.raises(DataError) as error:
        load("mnist")
    assert_one_line(error, f"cannot write to {cache} (", "set XDG_CACHE_HOME")


@pytest.mark.slow
@pytest.mark.parametrize(("source", "words"), [("prepared", "prepared"), ("official", "verified")])
def test_the_main_job_runs_from_this_source(request, tmp_path, monkeypatch, source, words):
    """End to end, with `auto`; the other sources are in tests/test_experiment.py."""
    request.getfixturevalue(source)
    flags = ["--architecture", "dense", "--epochs", "1", "--betas", "1", "--out", str(tmp_path / "run")]
    assert cli.main("beta_sweep", BetaSweep, run, flags) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["dataset"]["name"] == "mnist"
    assert words in summary["dataset"]["source"]
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000


def test_official_list_names_four_files():
    for name in ("mnist", "fashion_mnist"):
        files = tfds_source.official_files(name)
        assert {info.filename for info in files.values()} == {
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
        }
        assert all(len(info.checksum) == 64 for info in files.values())


def test_official_bytes_pass_the_official_checksums(real_data_dir, cache, monkeypatch):
    """The real MNIST, served from this machine in place of the official address."""
    files = {info.filename: info for info in tfds_source.official_files("mnist").values()}
    if not all((real_data_dir / "mnist" / filename).is_file() for filename in files):
        pytest.skip("JAXVAE_DATA_DIR has no mnist/ under the official names")
    server = serve(real_data_dir / "mnist", files, monkeypatch)
    try:
        dataset = load("mnist")
    finally:
        server.shutdown()
        server.server_close()
    assert dataset.train.image.shape == (60000, 28, 28, 1)
    assert dataset.sha256 == {info.filename: info.checksum for info in files.values()}
    np.testing.assert_array_equal(dataset.test.label[:5], [7, 2, 1, 0, 4])
