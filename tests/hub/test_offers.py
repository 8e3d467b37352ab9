"""`evaluate --push-results`: what was measured, as a pull request to the model's card."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from ..foreign import saved
from .conftest import Command
from .folders import prepared_data
from .test_push import files_of

THEIRS = """---
license: mit
model-index:
- name: theirs
  results:
  - task:
      type: audio-classification
    dataset:
      name: another
      type: bob/another
    metrics:
    - type: accuracy
      value: 0.25
---

# Bob's model

Words of bob's.
"""


@pytest.fixture
def bobs_model(ada: Command, corpus: Path, tmp_path: Path) -> str:
    """A stock classifier of bob's on the Hub, not made by this package, and lab's data set for it."""
    folder = saved(tmp_path / "bobs", "wav2vec2", labels=("HIGH", "low"))
    (folder / "README.md").write_text(THEIRS, encoding="utf-8")
    bob = ada.hub.api("bob")
    bob.create_repo("bob/stock")
    bob.upload_folder(repo_id="bob/stock", folder_path=folder)
    lab = ada.hub.api("ada")
    lab.create_repo("lab/levels", repo_type="dataset")
    data = prepared_data(tmp_path / "data", corpus)
    lab.upload_folder(repo_id="lab/levels", folder_path=data, repo_type="dataset")
    return "bob/stock"


def test_numbers_are_offered_to_somebody_else_s_model(ada: Command, bobs_model: str, tmp_path: Path) -> None:
    words = ["evaluate", bobs_model, "lab/levels", "--target", "label", "--output-dir", tmp_path / "out"]
    *_, url = ada.process(*words, "--push-results")
    assert url == f"{ada.hub.endpoint}/bob/stock/discussions/1"
    assert files_of(ada.hub, bobs_model, "model")["README.md"].decode() == THEIRS

    offered = files_of(ada.hub, bobs_model, "model", "refs/pr/1")["README.md"].decode()
    assert offered.endswith("# Bob's model\n\nWords of bob's.\n")
    data = ModelCard(offered).data
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    measured = {m["value"] for m in results["metrics"] if m["split"] == "test"}
    assert data.license == "mit" and data.eval_results[0].dataset_type == "bob/another"
    ours = [found for found in data.eval_results if found.dataset_type == "lab/levels"]
    assert {found.metric_value for found in ours} == measured and len(ours) >= 3
    assert ours[0].dataset_revision == ada.hub.api("ada").dataset_info("lab/levels").sha

    offer = ada.hub.api("bob").get_discussion_details(bobs_model, 1)
    assert offer.title == "Add evaluation results on lab/levels (test)" and offer.author == "ada"
    text = offer.events[0].content
    assert "hf-speech evaluate bob/stock lab/levels --target label" in text and "| Accuracy (WA) |" in text
    assert results["metrics"][0]["fingerprint"] in text and str(tmp_path) not in text

    # Measured again, the open offer is brought up to date, and there is no second one.
    *_, again = ada.process(*words, "--push-results", "--overwrite")
    assert again == url and len(list(ada.hub.api("bob").get_repo_discussions(bobs_model))) == 1
    ada.hub.api("bob").merge_pull_request(bobs_model, 1)
    assert "lab/levels" in files_of(ada.hub, bobs_model, "model")["README.md"].decode()


def test_a_number_on_a_benchmark_goes_to_the_leaderboard_too(ada: Command, bobs_model: str, tmp_path: Path) -> None:
    tasks = yaml.safe_dump({"tasks": [{"id": "levels", "split": "test", "config": "default"}]}).encode()
    api = ada.hub.api("ada")
    api.upload_file(path_or_fileobj=tasks, path_in_repo="eval.yaml", repo_id="lab/levels", repo_type="dataset")
    bob = ada.hub.api("bob")
    bob.delete_file("README.md", bobs_model)  # a model without a card
    words = ["evaluate", bobs_model, "lab/levels", "--target", "label", "--output-dir", tmp_path / "out"]
    ada.process(*words, "--push-results")
    there = files_of(ada.hub, bobs_model, "model", "refs/pr/1")
    (entry,) = yaml.safe_load(there[".eval_results/lab--levels.yaml"])
    assert entry["dataset"] == {"id": "lab/levels", "task_id": "levels"}
    assert entry["source"]["url"] == f"{ada.hub.endpoint}/datasets/lab/levels"
    assert ModelCard(there["README.md"].decode()).data.eval_results[0].metric_value == entry["value"]


@pytest.mark.parametrize(
    ("model", "dataset", "said"),
    [
        ("{folder}", "lab/levels", "is no model on the Hub; give its name there"),
        ("bob/stock", "{folder}", "is no data set on the Hub; give its name there"),
        ("bob/nothing", "lab/levels", "bob/nothing: there is no such repository on the Hub"),
        ("bob/stock", "lab/nothing", "lab/nothing: there is no such repository on the Hub"),
    ],
)
def test_what_could_not_be_offered_is_not_measured(
    ada: Command, tmp_path: Path, model: str, dataset: str, said: str
) -> None:
    if "nothing" in dataset:
        ada.hub.api("bob").create_repo("bob/stock")
    words = [name.format(folder=tmp_path) for name in (model, dataset)]
    assert said in ada.refused("evaluate", *words, "--output-dir", tmp_path / "out", "--push-results")
    assert not (tmp_path / "out").exists()
