import pytest

from data.tests import reference
from lm_data.deduplicate.files import exact_line_deduplication, minhash_deduplication
from lm_data.sample_crawl.sources import read_messages

FILES = {"a.txt": "x\ny\nunique a\n", "b.txt": "y\nz\nz\n", "c.txt": "x\nunique c", "d.txt": "last"}


def write(folder, files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def read(folder):
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_lines_that_occur_once_stay_and_empty_files_are_written(tmp_path):
    exact_line_deduplication(write(tmp_path / "in", FILES), tmp_path / "out")
    expected = dict(zip(FILES, reference.unique_lines(list(FILES.values())), strict=True))
    assert read(tmp_path / "out") == expected
    assert expected["b.txt"] == ""


def test_last_line_without_line_feed_equals_others(tmp_path):
    paths = write(tmp_path / "in", {"a.txt": "same\nother", "b.txt": "same"})
    exact_line_deduplication(paths, tmp_path / "out")
    assert read(tmp_path / "out") == {"a.txt": "other", "b.txt": ""}


def test_one_member_of_each_cluster_is_copied_verbatim(tmp_path):
    message, other = (one.text for one in read_messages(2))
    shouted = message.upper().replace(",", " , ")
    files = {"a.txt": message, "b.txt": shouted, "c.txt": other, "empty.txt": "", "void.txt": ""}
    paths = write(tmp_path / "in", files)
    minhash_deduplication(paths, 100, 10, 5, 0.8, tmp_path / "out")
    written = read(tmp_path / "out")
    assert len(written.keys() & {"a.txt", "b.txt"}) == 1
    assert written.keys() >= {"c.txt", "empty.txt", "void.txt"}
    assert all(text == files[name] for name, text in written.items())


def test_chosen_member_depends_on_the_seed_alone(tmp_path):
    text = read_messages(1)[0].text
    paths = write(tmp_path / "in", {f"{n}.txt": text for n in range(4)})
    kept = []
    for run, seed in enumerate([0, 1, 2, 3, 4, 5, 0]):
        minhash_deduplication(paths, 100, 10, 5, 0.8, tmp_path / f"out{run}", seed=seed)
        kept.append(list(read(tmp_path / f"out{run}")))
    assert kept[0] == kept[-1]
    assert all(len(names) == 1 for names in kept)
    assert len({names[0] for names in kept}) > 1


def test_bad_inputs_are_refused(tmp_path):
    paths = write(tmp_path / "in", FILES)
    with pytest.raises(ValueError, match="num_hashes=100 is not divisible by num_bands=7"):
        minhash_deduplication(paths, 100, 7, 5, 0.8, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"no input file at .*none\.txt"):
        exact_line_deduplication([tmp_path / "none.txt"], tmp_path / "out")
    with pytest.raises(ValueError, match=r"share the names \['a.txt'\]"):
        exact_line_deduplication([paths[0], paths[0]], tmp_path / "out")


def test_lines_of_windows_and_unix_files_are_equal(tmp_path):
    paths = write(tmp_path / "in", {"a.txt": "", "b.txt": ""})
    paths[0].write_bytes(b"same\r\nown\r\n")
    paths[1].write_bytes(b"same\n own\n")
    exact_line_deduplication(paths, tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_bytes() == b"own\r\n"
    assert (tmp_path / "out" / "b.txt").read_bytes() == b" own\n"
