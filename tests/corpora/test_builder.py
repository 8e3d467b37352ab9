"""The builders of the corpus scripts run by themselves, as `datasets` builders."""

from pathlib import Path

import pytest

from hf_speech.corpora.scripts import load_builder
from hf_speech.errors import InputError
from hf_speech.testing import write_fake_aishell4, write_fake_iemocap

from .prepared import digest


def test_a_builder_runs_without_torchcodec_and_sees_what_has_changed(tmp_path: Path) -> None:
    root = write_fake_iemocap(tmp_path / "corpus", dialogs=1)

    def rows(**options: object):
        builder = load_builder("iemocap")(
            config_name="all", data_dir=str(root), cache_dir=str(tmp_path / "cache"), **options
        )
        builder.download_and_prepare()
        return builder.as_dataset()["train"]

    found = rows()
    paths = {path.stem: path for path in root.rglob("*.wav") if not path.name.startswith("._")}
    assert sorted(found["id"]) == sorted(paths)
    first = found[0]
    assert first["audio"]["bytes"] == paths[first["id"]].read_bytes()
    evaluation = next(root.glob(f"Session*/dialog/EmoEvaluation/{first['recording_id']}.txt"))
    text = evaluation.read_text(encoding="latin-1")
    old = next(line.split("\t")[2] for line in text.splitlines() if f"\t{first['id']}\t" in line)
    new = "fru" if old != "fru" else "ang"
    evaluation.write_text(text.replace(f"{first['id']}\t{old}\t", f"{first['id']}\t{new}\t"), encoding="latin-1")
    again = {row["id"]: row["emotion"] for row in rows()}
    assert again[first["id"]] == {"fru": "frustration", "ang": "anger"}[new]
    paths_only = rows(embed_audio=False)[0]
    assert paths_only["audio"]["path"] == str(paths[paths_only["id"]])


def test_a_builder_streams(tmp_path: Path) -> None:
    root = write_fake_iemocap(tmp_path / "corpus", dialogs=1)
    builder = load_builder("iemocap")(data_dir=str(root), cache_dir=str(tmp_path / "cache"))
    stream = builder.as_streaming_dataset()["train"]
    row = next(iter(stream))
    path = next(root.rglob(f"{row['id']}.wav"))
    assert row["audio"]["bytes"] == path.read_bytes()
    assert row["length"] * 2 + 44 <= len(row["audio"]["bytes"])
    assert digest(path)


def test_turns_are_cut_out_to_the_sample(tmp_path: Path) -> None:
    import io

    import soundfile as sf

    root = write_fake_aishell4(tmp_path / "corpus", channels=2)
    builder = load_builder("aishell4")(
        data_dir=str(root), cache_dir=str(tmp_path / "cache"), max_duration=1.7, split="none", sets=["train_L"]
    )
    builder.download_and_prepare()
    rows = builder.as_dataset()["train"]
    assert len(rows) > 20
    for row in rows:
        assert sf.info(io.BytesIO(row["audio"]["bytes"])).frames == row["length"]


def test_a_builder_without_its_folder_is_refused(tmp_path: Path) -> None:
    builder = load_builder("iemocap")(data_dir=str(tmp_path / "nowhere"), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(InputError, match="there is no such folder"):
        builder.download_and_prepare()
