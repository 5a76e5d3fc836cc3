"""Texts as targets: tables, folders, lists and data sets; encodings, copies and languages."""

import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

from headstart.errors import TargetError
from headstart.target import READERS, load_target
from headstart.target.inputs import PathInputs, StringInputs, TextFileInputs, as_inputs
from headstart.target.raw import Columns
from headstart.target.similar import SIMILAR, examine, near_duplicates, signatures
from headstart.target.table import read_table, texts_of
from headstart.target.text import MAX_CHARACTERS, UnreadableText, decode, plain, read_text
from headstart.testing import check_all, check_reader

pytestmark = pytest.mark.fast

WEATHER = [f"The rain fell on field number {'abcdefghijklmnopqrstuvwxyz'[i]}{i} all day" for i in range(20)]
TRAINS = [f"Train {i} left platform {'zyxwvutsrqponmlkjihgfedcba'[i]} before noon today" for i in range(20)]


def write_csv(path: Path, rows, columns=("text", "label"), encoding="utf-8", **options):
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False, encoding=encoding, **options)
    return path


def rows():
    return [(t, "weather") for t in WEATHER] + [(t, "trains") for t in TRAINS]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_tables_of_texts(tmp_path, suffix):
    frame = pd.DataFrame(rows(), columns=["review", "label"])
    path = tmp_path / f"reviews{suffix}"
    if suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    target = load_target(path)
    assert (target.modality, target.classes, target.n_examples) == ("text", ("trains", "weather"), 40)
    inputs = target.everything.examples.inputs
    assert inputs.modality == "text"
    assert {inputs.text(i) for i in range(40)} == {*WEATHER, *TRAINS}
    assert inputs.name(0) == "row 1"


def test_newlines_quotes_and_long_cells_survive(tmp_path):
    odd = ['He said "no",\nand left', "a; b, c\td", "x" * 200_000, "last line\r\nhere"]
    path = write_csv(tmp_path / "odd.csv", [(t, str(i % 2)) for i, t in enumerate(odd * 2)])
    assert texts_of(path) == odd * 2
    raw = read_table(path, Columns())
    assert [raw.inputs.text(i) for i in range(4)] == [t.strip() for t in odd]


def test_the_text_column_is_guessed_or_named(tmp_path):
    frame = pd.DataFrame(rows(), columns=["said", "kind"])
    frame["id"] = range(40)
    frame["city"] = ["Ulm" if i % 3 else "Bonn" for i in range(40)]
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(TargetError, match=r"label column of .* is not clear"):
        load_target(path)
    assert load_target(path, label="kind").everything.examples.inputs.text(0) in WEATHER
    assert load_target(path, label="kind", input="said").n_examples == 40
    with pytest.raises(TargetError, match="did you mean 'said'"):
        load_target(path, label="kind", input="sayd")
    frame[["id", "kind"]].to_csv(path, index=False)
    with pytest.raises(TargetError, match=r"no column of .* holds texts or the paths of pictures"):
        load_target(path)


def test_texts_that_mention_pictures_are_texts(tmp_path):
    mentions = [(f"{text} as seen in photo{i}.jpg", label) for i, (text, label) in enumerate(rows())]
    # Most of these end like picture files, but they are sentences all the same: naming the column is enough elsewhere.
    path = write_csv(tmp_path / "m.csv", [(f"{text}!", label) for text, label in mentions])
    assert load_target(path).modality == "text"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8-sig", ""), ("utf-16", ""), ("cp1252", "20 texts are not in UTF-8"), ("latin-1", "20 texts are not in")],
)
def test_encodings_are_found_and_said(tmp_path, encoding, said):
    accented = [(f"né {text}", label) for text, label in rows()[:20]]
    path = write_csv(tmp_path / "e.csv", [*accented, *rows()[20:]], encoding=encoding)
    target = load_target(path)
    assert all("né" in target.everything.examples.inputs.text(i) for i in range(20))
    warnings = " ".join(target.hygiene.warnings)
    assert (said in warnings) if said else ("not in UTF-8" not in warnings)


def test_folders_of_texts_and_given_splits(tmp_path):
    root = tmp_path / "docs"
    for part, start in (("train", 0), ("test", 12)):
        for name, texts in (("weather", WEATHER), ("trains", TRAINS)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i, text in enumerate(texts[start : start + 12]):
                (folder / f"{start + i}.txt").write_bytes(f"{text} – né".encode("cp1252" if i == 0 else "utf-8"))
    (root / "train" / "weather" / "empty.txt").write_bytes(b"")
    (root / "train" / "weather" / "blank.txt").write_text(" \n\t")
    (root / "train" / "weather" / "null.txt").write_bytes(b"\x00\x01\x02")
    (root / "train" / "weather" / "scan.pdf").write_bytes(b"%PDF-1.7")
    (root / "train" / "weather" / "logo.png").write_bytes(b"x")
    target = load_target(root)
    assert (target.modality, target.split, target.n_train, target.n_test) == ("text", "given", 24, 16)
    reasons = {Path(name).name: why for name, why in target.hygiene.unreadable}
    assert reasons == {
        "empty.txt": "is empty (0 bytes)",
        "blank.txt": "is empty",
        "null.txt": "is not a text (it holds null bytes)",
        "scan.pdf": "is PDF, which is not supported (convert it to plain text)",
    }
    assert [Path(name).name for name in target.hygiene.ignored] == ["logo.png"]
    assert any("4 texts are not in UTF-8, and taken for Windows-1252" in said for said in target.hygiene.warnings)
    assert isinstance(target.everything.examples.inputs, TextFileInputs)


def test_a_folder_with_tables_for_the_parts_of_a_split(tmp_path):
    write_csv(tmp_path / "train.csv", rows()[::2])
    write_csv(tmp_path / "test.csv", rows()[1::2])
    (tmp_path / "README.md").write_text("data")
    target = load_target(tmp_path)
    assert (target.split, target.n_train, target.n_test) == ("given", 20, 20)
    assert target.episodes[0].seal.inputs.name(0) == "test.csv row 1"
    write_csv(tmp_path / "test.csv", rows()[1::2], columns=("sentence", "label"))
    with pytest.raises(TargetError, match="the same columns in all parts"):
        load_target(tmp_path)


@pytest.mark.parametrize("name", ["all.csv", "train.csv"])
def test_a_folder_with_one_table_is_that_table(tmp_path, name):
    write_csv(tmp_path / name, rows())
    (tmp_path / "LICENSE").write_text("free")
    assert load_target(tmp_path).n_examples == 40


def test_of_two_tables_none_is_guessed(tmp_path):
    for name in ("2023.csv", "2024.csv"):
        write_csv(tmp_path / name, rows())
    with pytest.raises(TargetError, match=r"2 tables in .*: 2023.csv, 2024.csv") as refused:
        load_target(tmp_path)
    assert str(tmp_path / "2023.csv") in str(refused.value)


def test_a_table_of_text_files(tmp_path):
    for i, (text, _) in enumerate(rows()):
        (tmp_path / f"{i}.txt").write_text(text)
    path = write_csv(tmp_path / "list.csv", [(f"{i}.txt", label) for i, (_, label) in enumerate(rows())], ("file", "y"))
    inputs = load_target(path).everything.examples.inputs
    assert isinstance(inputs, TextFileInputs)
    assert inputs.text(0) == WEATHER[0]


def test_lists_and_data_sets():
    texts, labels = map(list, zip(*rows(), strict=True))
    assert load_target((texts, labels)).modality == "text"
    assert load_target((np.array(texts, dtype=object), labels)).n_examples == 40
    assert load_target((pd.Series(texts), labels)).n_examples == 40
    data = datasets.Dataset.from_dict({"text": texts, "label": labels, "id": list(range(40))})
    assert load_target(data).classes == ("trains", "weather")
    with_two = data.add_column("title", [text[:9] for text in texts])
    assert load_target(with_two).everything.examples.inputs.text(0) in WEATHER
    parts = datasets.DatasetDict({"train": data.select(range(0, 40, 2)), "test": data.select(range(1, 40, 2))})
    assert load_target(parts).split == "given"
    check_all(lambda one: check_reader(*one), [(READERS[2], (texts, labels)), (READERS[3], data)], expected=2)


def test_strings_are_paths_or_texts(tmp_path):
    assert isinstance(as_inputs(["a.jpg", "b.png"]), PathInputs)
    assert isinstance(as_inputs(["a.jpg", "b.png"], "text"), StringInputs)
    assert isinstance(as_inputs(["one two", "three"]), StringInputs)
    assert isinstance(as_inputs("what is this?"), StringInputs)
    assert isinstance(as_inputs(["whatever"], "image"), PathInputs)
    file = tmp_path / "1.txt"
    file.write_text("text")
    assert isinstance(as_inputs([file]), TextFileInputs)
    assert isinstance(as_inputs([str(file)]), TextFileInputs)
    for wrong in ([file, "a text"], [np.zeros((2, 2))], np.zeros((2, 2, 2), dtype=np.uint8)):
        with pytest.raises(TargetError):
            as_inputs(wrong, "text")
    with pytest.raises(TargetError, match="modality text"):
        as_inputs(StringInputs(["a"]), "image")


def test_copies_conflicts_and_near_copies(tmp_path):
    said = rows()
    copies = [(f"  {WEATHER[0]} ", "weather"), (WEATHER[1].upper() + "!!", "weather"), (TRAINS[0], "weather")]
    path = write_csv(tmp_path / "c.csv", [*said, *copies, ("", "weather")])
    found = load_target(path).hygiene
    assert found.exact_duplicates == (("row 1", "row 41"), ("row 21", "row 43"))
    assert found.conflicting == (("row 21", "row 43"),)
    assert found.near_duplicates == (("row 2", "row 42"),)
    assert found.unreadable == (("row 44", "has no text in column 'text'"),)
    assert "1 text under different labels" in " ".join(found.warnings)


def brute_force(texts):
    def shingles(text):
        text = text.ljust(5)
        return {text[i : i + 5] for i in range(len(text) - 4)}

    sets = [shingles(text) for text in texts]
    return {
        (a, b)
        for a in range(len(sets))
        for b in range(a + 1, len(sets))
        if len(sets[a] & sets[b]) >= SIMILAR * len(sets[a] | sets[b])
    }


def test_near_copies_are_those_that_share_most_shingles():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 5)) for _ in range(60)]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(150)]
    texts += [t.replace(t.split()[k % 12], "x" * (k % 4)) for k, t in enumerate(texts[:100])]
    inputs = StringInputs(texts)
    found, whole = near_duplicates(examine(inputs), np.ones(len(texts), dtype=bool))
    truth = brute_force([" ".join(t.split()) for t in texts])
    assert len(truth) > 30
    assert whole
    assert set(found) == {pair for pair in truth if texts[pair[0]] != texts[pair[1]]}


def test_signatures_estimate_the_similarity():
    one, other = "the cat sat on the mat and looked at me", "the cat sat on the mat and looked at him"
    sets = [{t[i : i + 5] for i in range(len(t) - 4)} for t in (one, other)]
    truth = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    found = signatures([one, other, "x"])
    assert abs((found[0] == found[1]).mean() - truth) < 0.15
    assert not (found[0] == found[2]).any()
    assert (signatures([one])[0] == found[0]).all(), "it does not depend on the neighbours"


def test_languages_and_scripts_are_noted():
    english = [f"What is the way to the station of {word}?" for word in ("Rome", "Paris", "Oslo", "Wien")] * 3
    german = [f"Wie ist der Weg und die Zeit zu dem Haus {i}?" for i in range(6)]
    russian = [f"Где находится вокзал номер {i}" for i in range(4)]
    notes = " ".join(examine(StringInputs([*english, *german, *russian])).notes())
    assert "several scripts: Latin 82 %, Cyrillic 18 %" in notes
    assert "English 67 %, German 33 %" in notes
    assert "Most texts seem to be in German" in " ".join(examine(StringInputs(german)).notes())
    assert examine(StringInputs(english)).notes() == []


def test_decoding(tmp_path):
    assert decode(b"\xef\xbb\xbfa") == ("a", "UTF-8")
    assert decode("ü".encode("utf-16")) == ("ü", "UTF-16")
    assert decode(b"\x81\xfc") == ("\x81ü", "Latin-1")
    for text, why in ((" \n", "is empty"), ("x" * (MAX_CHARACTERS + 1), "too long")):
        with pytest.raises(UnreadableText, match=why):
            plain(text)
    for path, why in ((tmp_path, "is a folder"), (tmp_path / "absent.txt", "does not exist")):
        with pytest.raises(UnreadableText, match=why):
            read_text(path)


def test_json_lines_with_missing_texts(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [{"text": t, "label": k} for t, k in rows()] + [{"text": None, "label": "weather"}, {"label": "trains"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = load_target(path)
    assert found.n_examples == 40
    assert [name for name, _ in found.hygiene.unreadable] == ["row 41", "row 42"]
