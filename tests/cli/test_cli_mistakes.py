"""Bad input as a new user would give it: a clear line on stderr, exit code 2, nothing on stdout, no traceback."""

import os
import stat

import pytest

pytestmark = pytest.mark.fast


@pytest.fixture
def wrong(headstart):
    """Run a command that must be refused; the words on stderr."""

    def call(*arguments):
        said = headstart(*arguments)
        assert said.code == 2, (said.code, said.err)
        assert said.out == ""
        assert "Traceback" not in said.err
        return said.err

    return call


def test_wrong_options(wrong, photos, tmp_path):
    out = ("--out", tmp_path / "run")
    assert "did you mean 'efficientnet_lite0'?" in wrong("fit", photos, "--source", "efficientnet_lit0", *out)
    assert "did you mean 'bundled'?" in wrong("fit", photos, "--source", "bundeld:efficientnet_lite0", *out)
    assert "did you mean 'probe'?" in wrong("fit", photos, "--strategy", "prob", *out)
    said = wrong("fit", photos, "--budget", "soon", *out)
    assert "error: budget 'soon'" in said
    assert "expected: a duration such as 30s, 5m or 1h" in said
    assert "longer than zero" in wrong("fit", photos, "--budget", "0s", *out)
    assert "longer than zero" in wrong("fit", photos, "--budget", "-5", *out)
    assert "test fraction of 1.5" in wrong("fit", photos, "--test-fraction", 1.5, *out)
    assert "device 'gpu'" in wrong("fit", photos, "--device", "gpu", *out)
    assert "trials" in wrong("fit", photos, "--trials", 1, *out)
    assert "No such command 'fitt'" in wrong("fitt", photos)
    assert "No such option" in wrong("fit", photos, "--buget", "1m", *out)
    assert "draws without shots" in wrong("fit", photos, "--draws", 5, *out)
    assert "shots" in wrong("fit", photos, "--shots", 0, *out)
    assert "fewer than 500 labels to draw from" in wrong("fit", photos, "--shots", 500, *out)
    # Everything wrong is said at once.
    both = wrong("fit", photos, "--source", "efficientnet_lit0,resnet", *out)
    assert "2 problems" in both
    assert not (tmp_path / "run").exists()


def test_wrong_targets(wrong, picture, tmp_path):
    (tmp_path / "empty").mkdir()
    for command in ("fit", "check"):
        assert "empty" in wrong(command, tmp_path / "empty")
        assert "does not exist" in wrong(command, tmp_path / "emptty")
    assert f"did you mean '{tmp_path / 'empty'}'?" in wrong("check", tmp_path / "emptty")
    assert "did you mean 'digits'?" in wrong("check", "embedded:digit")
    for i in range(3):
        picture(f"single/cats/{'x' * i}.png")
    assert "single class, 'cats'" in wrong("fit", tmp_path / "single")
    picture("few/a/1.png")
    picture("few/a/22.png")
    picture("few/b/333.png")
    assert "b (1)" in wrong("fit", tmp_path / "few")
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert "unpack a.zip" in wrong("fit", tmp_path / "a.zip")
    table = tmp_path / "t.csv"
    table.write_text("path,label\nx.png,a\n")
    assert "did you mean 'label'?" in wrong("fit", table, "--label", "lable")
    table.write_text("one,two\n1,2\n")
    assert "--input" in wrong("fit", table)


def test_wrong_output_folders(wrong, photos, tmp_path):
    options = ("--trials", 2, "--source", "toy:detail", "--strategy", "probe")
    file = tmp_path / "file"
    file.write_text("mine")
    assert "cannot be written" in wrong("fit", photos, "--out", file, *options)
    assert file.read_text() == "mine"
    assert "cannot be written" in wrong("fit", photos, "--out", file / "below", *options)
    # A folder with a ledger that is not ours.
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "ledger.jsonl").write_text("date,amount\n2024-01-01,3\n")
    assert "damaged at line 1" in wrong("fit", photos, "--out", foreign, *options)
    assert (foreign / "ledger.jsonl").read_text().startswith("date,amount")


def test_a_folder_that_holds_something_else_is_refused_before_the_data_is_read(wrong, photos, tmp_path, monkeypatch):
    def read(*arguments, **options):
        raise AssertionError("the data was read")

    monkeypatch.setattr("headstart.target.load_target", read)
    folder = tmp_path / "thesis"
    folder.mkdir()
    for name in ("a", "b", "c", "d", "e", "notes.txt", "z"):
        (folder / name).write_text("mine")
    said = wrong("fit", photos, "--out", folder, "--trials", 2, "--source", "toy:detail")
    assert f"{folder} is not empty and holds no run: a, b, c, d, e and 2 more\n" in said
    assert "expected: a new or empty folder" in said
    assert "next:     --out with a new name" in said
    assert len(list(folder.iterdir())) == 7
    assert "is not empty" in wrong("fit", photos, "--out", photos, "--trials", 2)  # not even beside the data


def test_a_profile_that_cannot_be_written_is_refused_before_the_data_is_read(wrong, photos, tmp_path):
    out = ("--out", tmp_path / "run", "--trials", 2)
    assert "there is no folder" in wrong("fit", photos, "--profile", tmp_path / "absent" / "p.json", *out)
    assert "is a folder" in wrong("fit", photos, "--profile", tmp_path, *out)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="whoever runs this may write everywhere")
def test_a_read_only_output_folder(wrong, photos, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    said = wrong("fit", photos, "--out", locked / "run", "--trials", 2)
    assert "cannot be written" in said
    assert "--out FOLDER" in said


def test_a_folder_that_cannot_be_written_is_refused(wrong, photos, tmp_path, monkeypatch):
    """As a read-only folder, also for whoever may write everywhere."""

    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    said = wrong("fit", photos, "--out", tmp_path / "run", "--trials", 2, "--source", "toy:detail")
    assert "cannot be written: Permission denied" in said
    assert "--out FOLDER" in said


def test_wrong_runs(wrong, picture, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "no finished run" in wrong("report", tmp_path / "nothing")
    assert "nothing" in wrong("predict", tmp_path / "nothing", picture("x.png"))


def test_a_bug_of_ours_ends_with_1_and_says_so(headstart, photos, monkeypatch):
    from headstart.errors import HeadstartError

    def broken(*arguments, **options):
        raise HeadstartError("planted bug")

    monkeypatch.setattr("headstart.target.load_target", broken)
    said = headstart("check", photos)
    assert (said.code, said.out) == (1, "")
    assert "planted bug\nThis is a bug in headstart, not in your data." in said.err


def test_ctrl_c_ends_with_130(headstart, photos, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.target.load_target", interrupt)
    said = headstart("check", photos)
    assert said.code == 130
    assert "run the same command again" in said.err


def test_help_names_every_command(headstart):
    said = headstart("--help")
    assert said.code == 0
    assert all(f"\n  {name} " in said.out for name in ("fit", "predict", "report", "check", "sources", "demo"))
    assert headstart("--version").out.startswith("headstart 0.")
