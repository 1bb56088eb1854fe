import pytest

from jaxvae import files
from jaxvae.errors import RunFolderError
from jaxvae.files import write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    write_whole(tmp_path / "a", b"old")
    (tmp_path / ".a.tmp").write_bytes(b"half of")  # of one that was killed
    write_whole(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, error):
    write_whole(tmp_path / "a", b"old")
    write = files.Path.write_bytes

    def half(path, content):
        write(path, content[:1])
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "write_bytes", half)
        with pytest.raises(RunFolderError if isinstance(error, OSError) else KeyboardInterrupt):
            write_whole(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_no_link_is_written_through(tmp_path):
    (tmp_path / "other").write_bytes(b"not ours")
    for name in ("a", ".a.tmp"):
        (tmp_path / name).symlink_to(tmp_path / "other")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "other").read_bytes() == b"not ours"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not (tmp_path / "a").is_symlink()
