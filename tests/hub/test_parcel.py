"""What travels to the Hub, and what stays behind."""

import json
import re
from pathlib import Path

import pytest
import yaml

from hf_speech.errors import InputError
from hf_speech.hub.edits import signed, unsigned
from hf_speech.hub.parcel import Parcel, kind_of, pack

from .folders import prepared_data, space

TOKEN = "hf_" + "Ab1" * 11 + "c"


def packed(folder: Path, room: Path, kind: str = "model") -> Parcel:
    room.mkdir()
    return pack(kind, folder, "ada/emotion", room)


def test_a_model_travels_with_its_code_and_without_what_is_only_of_here(model: Path, tmp_path: Path) -> None:
    parcel = packed(model, tmp_path / "room")
    names = set(parcel.files())
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "modeling.py", "registry.py"} <= names
    assert {"README.md", "results.json", "train.yaml", "confusion.png"} <= names
    assert parcel.left_out == ["checkpoint-40/", "predictions.csv"]
    for name, path in parcel.files().items():
        if path.suffix in (".json", ".yaml", ".md"):
            assert str(model.parent) not in path.read_text(encoding="utf-8"), name
    recipe = yaml.safe_load((parcel.folder / "train.yaml").read_text())
    assert recipe == {"dataset": "metadata.csv", "target": "emotion"}


def test_the_card_and_the_results_name_the_repository(model: Path, tmp_path: Path) -> None:
    parcel = packed(model, tmp_path / "room")
    assert json.loads((parcel.folder / "results.json").read_text())["model"]["name"] == "ada/emotion"
    assert 'name = "ada/emotion"' in parcel.card and "emotion-tiny" not in parcel.card
    assert "](confusion.png)" in parcel.card
    assert json.loads((model / "results.json").read_text())["model"]["name"] == "emotion-tiny"


def test_what_was_edited_in_the_folders_own_card_travels(model: Path, tmp_path: Path) -> None:
    card = (model / "README.md").read_text(encoding="utf-8")
    (model / "README.md").write_text(card.replace("## Results", "## Why\n\nBecause.\n\n## Results"), encoding="utf-8")
    parcel = packed(model, tmp_path / "room")
    assert "Because." in parcel.card and 'name = "ada/emotion"' in parcel.card
    assert any("Why" in note for note in parcel.notes)


def test_a_card_that_is_not_ours_stays_behind_and_is_told_of(model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("# Mine\n", encoding="utf-8")
    parcel = packed(model, tmp_path / "room")
    assert "# Mine" not in parcel.card and "stays behind" in parcel.notes[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.yaml", f"hub_token: {TOKEN}\n".encode()),
        ("registry.py", f"MY_{TOKEN} = 1\n".encode()),
        ("verification.safetensors", b"\x00\xff" * 5_000_000 + f"api_org_{TOKEN[3:]}".encode() + b"\x00"),
        ("metrics.csv", f"a,{TOKEN}\n".encode("utf-16")),
    ],
)
def test_a_token_in_a_file_stops_the_push_and_is_not_shown(
    model: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    (model / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: there is a token of the Hub in it") as refused:
        packed(model, tmp_path / "room").seal()
    assert TOKEN not in str(refused.value)


def test_a_token_is_found_in_names_and_scripts_of_a_space(tmp_path: Path) -> None:
    folder = space(tmp_path / "space")
    (folder / "run.sh").write_text(f"export HF_TOKEN={TOKEN}\n")
    with pytest.raises(InputError, match="run.sh: there is a token"):
        packed(folder, tmp_path / "1", "space").seal()
    (folder / "run.sh").unlink()
    (folder / f"{TOKEN}.txt").touch()
    with pytest.raises(InputError, match=r"\*\*\*.txt: there is a token"):
        packed(folder, tmp_path / "2", "space").seal()


def test_this_process_s_own_token_is_found_however_it_looks(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a-short-one")
    (model / "train.yaml").write_text("note: a-short-one\n", encoding="utf-8")
    with pytest.raises(InputError, match="there is a token"):
        packed(model, tmp_path / "room").seal()


def test_files_that_are_not_of_a_model_stay_here(model: Path, tmp_path: Path) -> None:
    others = ["secrets.json", "photo.png", "speakers.txt", "notes/a.json"]
    for name in others:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("{}")
    (model / "shown.png").write_bytes(b"x")
    card = (model / "README.md").read_text().replace("## Results\n", "## Results\n\n![mine](shown.png)\n")
    (model / "README.md").write_text(card)
    parcel = packed(model, tmp_path / "room")
    assert parcel.left_out == [
        "checkpoint-40/",
        "notes/",
        "photo.png",
        "predictions.csv",
        "secrets.json",
        "speakers.txt",
    ]
    assert "shown.png" in parcel.files()


def test_what_lies_elsewhere_does_not_travel_with_a_space(tmp_path: Path) -> None:
    folder = space(tmp_path / "space")
    (tmp_path / "secret").write_text("x")
    (folder / "notes").symlink_to(tmp_path / "secret")
    (folder / "assets").symlink_to(tmp_path)
    (folder / "flagged").mkdir()
    (folder / "flagged" / "voice.wav").write_bytes(b"x")
    parcel = packed(folder, tmp_path / "room", "space")
    assert set(parcel.files()) == {"README.md", "app.py", "requirements.txt"}
    assert parcel.left_out == [".env", "assets", "flagged/", "notes"]


def test_names_of_files_do_not_travel(model: Path, tmp_path: Path) -> None:
    results = json.loads((model / "results.json").read_text())
    results["data"]["left_out"] = [{"file": "patient_john_doe.wav", "reason": "no samples"}]
    (model / "results.json").write_text(json.dumps(results))
    parcel = packed(model, tmp_path / "room")
    for path in parcel.files().values():
        assert b"john_doe" not in path.read_bytes()


def test_what_is_written_in_the_folder_later_does_not_travel(model: Path, tmp_path: Path) -> None:
    parcel = packed(model, tmp_path / "room")
    parcel.seal()
    (model / "config.json").write_text("{}")
    assert json.loads((parcel.folder / "config.json").read_text())["model_type"] == "hf_speech"
    assert parcel.changed() == []
    (parcel.folder / "config.json").write_text("{}")
    assert parcel.changed() == ["config.json"]


def test_what_is_not_whole_is_refused(model: Path, tmp_path: Path) -> None:
    results = (model / "results.json").read_text()
    (model / "results.json").unlink()
    with pytest.raises(InputError, match=r"has no results.json, and a model is pushed with its numbers; `hf-speech ev"):
        packed(model, tmp_path / "1")
    (model / "results.json").write_text("{")
    with pytest.raises(InputError, match="results.json is not JSON"):
        packed(model, tmp_path / "2")
    (model / "results.json").write_text(results)
    (model / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no weights \(\*.safetensors\)"):
        packed(model, tmp_path / "3")


def test_what_lies_in_a_folder_is_told_by_its_files(model: Path, corpus: Path, tmp_path: Path) -> None:
    assert kind_of(model) == "model"
    assert kind_of(prepared_data(tmp_path / "data", corpus)) == "dataset"
    assert kind_of(space(tmp_path / "space")) == "space"
    with pytest.raises(InputError, match="there is no such folder"):
        kind_of(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has none of config.json of a model"):
        kind_of(tmp_path)


def test_a_data_set_travels_as_its_audit_lists_it(corpus: Path, tmp_path: Path) -> None:
    folder = prepared_data(tmp_path / "data", corpus)
    (folder / "notes.txt").write_text("mine\n")
    parcel = packed(folder, tmp_path / "room", "dataset")
    audit = json.loads((folder / "audit.json").read_text())
    assert set(parcel.files()) == set(audit["files"]) and parcel.left_out == ["notes.txt"]
    assert unsigned(parcel.card) == unsigned((folder / "README.md").read_text())
    assert parcel.card == signed(parcel.card)
    (folder / audit["files"][-1]).unlink()
    with pytest.raises(InputError, match="lacks .*, which audit.json names; prepare again"):
        packed(folder, tmp_path / "again", "dataset")


def test_rows_of_paths_do_not_travel(corpus: Path, tmp_path: Path) -> None:
    folder = prepared_data(tmp_path / "data", corpus)
    audit = json.loads((folder / "audit.json").read_text())
    audit["options"]["embed_audio"] = False
    (folder / "audit.json").write_text(json.dumps(audit))
    with pytest.raises(InputError, match="its rows hold paths of this machine and no audio"):
        packed(folder, tmp_path / "room", "dataset")


def test_a_space_travels_without_what_is_hidden(tmp_path: Path) -> None:
    parcel = packed(space(tmp_path / "space"), tmp_path / "room", "space")
    assert set(parcel.files()) == {"README.md", "app.py", "requirements.txt"}
    assert parcel.left_out == [".env"]


def test_a_space_needs_the_app_that_its_card_names(tmp_path: Path) -> None:
    folder = space(tmp_path / "space")
    (folder / "README.md").write_text("---\nsdk: gradio\napp_file: main.py\n---\n")
    with pytest.raises(InputError, match="its app_file main.py is not there"):
        packed(folder, tmp_path / "1", "space")
    (folder / "README.md").unlink()
    with pytest.raises(InputError, match=re.escape("has no README.md")):
        packed(folder, tmp_path / "2", "space")


def test_files_of_an_earlier_push_go_and_others_stay(model: Path, tmp_path: Path) -> None:
    parcel = packed(model, tmp_path / "room")
    gone = ["model-00001-of-00002.safetensors", "verification.safetensors", "curves.png", "confusion-age.png"]
    assert all(parcel.goes(name) for name in gone)
    assert not any(parcel.goes(name) for name in ("photo.png", "LICENSE", ".gitattributes", "notes/curves.txt"))
    data = Parcel("dataset", tmp_path, [], [])
    assert data.goes("test-0.parquet", {"files": ["test-0.parquet"]}) and not data.goes("mine.txt", {"files": ["x"]})
    assert not data.goes("test-0.parquet", None) and not data.goes("test-0.parquet", {"files": None})
