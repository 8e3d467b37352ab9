"""What somebody new to the command gets wrong first: one line, at once, that says what to write."""

from pathlib import Path
from typing import Any

import pytest

from hf_speech.errors import InputError
from hf_speech.training.arguments import make_config
from hf_speech.training.build import backbone_config

from .runs import Refuse, refusing


@pytest.fixture
def refuse(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    return refusing(corpus, tmp_path, capsys)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the Hub fails the test."""

    def asked(*names: Any, **settings: Any) -> None:
        raise AssertionError(f"the Hub was asked for {names}")

    monkeypatch.setattr("hf_speech.training.build.AutoConfig.from_pretrained", asked)


@pytest.mark.parametrize(
    "name", ["runs/gone", "./gone", "../gone", "/gone", "~/gone", "a/b/c", "gone/", "runs/wavlm-lora-voxceleb"]
)
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(
    name: str, no_hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    with pytest.raises(InputError) as caught:
        backbone_config(make_config({"backbone": name}))
    recipe = name.endswith("voxceleb")
    mend = "train wavlm-lora-voxceleb into it, or give another" if recipe else "give one with a checkpoint"
    assert str(caught.value) == f"backbone {name}: there is no such folder here; {mend}"


@pytest.mark.parametrize("name", ["owner/name", "name"])
def test_a_name_of_the_hub_is_looked_for_there(name: str, no_hub: None) -> None:
    with pytest.raises(AssertionError, match="the Hub was asked"):
        backbone_config(make_config({"backbone": name}))


def test_a_corpus_that_is_not_there_is_told_of_before_the_backbone(
    no_hub: None, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_SPEECH_DATA", raising=False)
    said = refuse("--dataset", "iemocap/fold1", backbone="owner/name", backbone_config=None)
    assert said == (
        "hf-speech train: dataset iemocap/fold1: neither --data-dir nor $HF_SPEECH_DATA says where corpora lie; make "
        "it with `hf-speech prepare iemocap --data-dir IEMOCAP_full_release --fold 1 --output-dir "
        "prepared/iemocap/fold1`, then --data-dir prepared"
    )


@pytest.mark.parametrize("column", ["age", "nobody", "path"])
def test_only_columns_that_can_be_balanced_are_offered(column: str, refuse: Refuse) -> None:
    said = refuse("--balance", column)
    assert said.endswith(": label, speaker_id"), said


def test_a_rule_by_the_table_s_own_name_of_a_mapped_column(refuse: Refuse) -> None:
    said = refuse("--columns.speaker_id", "age", "--test", "crc32(speaker)%3==0")
    assert "it is called speaker_id here, mapped or not: write speaker_id" in said
