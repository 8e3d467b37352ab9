"""`evaluate --push-results`: what was measured, as a pull request to the model's card."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetInfo, ModelCard, ModelInfo

from hf_speech.cli.models import _without_places
from hf_speech.errors import InputError
from hf_speech.hub.offers import Offer, card_with, check_may_be_told, check_offer, offer_results
from hf_speech.results import Results

from ..foreign import saved
from ..loopback.blobs import regular_blob
from ..loopback.repository import Author
from ..test_results import example
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


@pytest.mark.slow
def test_numbers_are_offered_to_somebody_else_s_model(ada: Command, bobs_model: str, tmp_path: Path) -> None:
    words = ["evaluate", bobs_model, "lab/levels", "--target", "label", "--output-dir", tmp_path / "out"]
    words += ["--data-dir", tmp_path]
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
    commit = ada.hub.api("ada").dataset_info("lab/levels").sha
    assert ours[0].dataset_revision == commit and ours[0].dataset_args == {"target": "label"}

    offer = ada.hub.api("bob").get_discussion_details(bobs_model, 1)
    assert offer.title == "Add evaluation results on lab/levels (test, label)" and offer.author == "ada"
    text = offer.events[0].content
    assert "hf-speech evaluate bob/stock lab/levels --target label" in text and "| Accuracy (WA) |" in text
    assert results["metrics"][0]["fingerprint"] in text and str(tmp_path) not in text
    assert f"on lab/levels at `{commit}`" in text
    assert f"of the model at `{ada.hub.api('bob').model_info(bobs_model).sha}`" in text
    assert "data-dir" not in text

    # Measured again, the open offer is brought up to date, and there is no second one.
    *_, again = ada.process(*words, "--push-results", "--overwrite")
    events = ada.hub.api("bob").get_discussion_details(bobs_model, 1).events
    assert [event.type for event in events].count("comment") == 1  # nothing is new
    assert again == url and len(list(ada.hub.api("bob").get_repo_discussions(bobs_model))) == 1
    ada.hub.api("bob").merge_pull_request(bobs_model, 1)
    assert "lab/levels" in files_of(ada.hub, bobs_model, "model")["README.md"].decode()


@pytest.mark.slow
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


@pytest.fixture
def offer(ada: Command) -> Callable[..., str]:
    """Offers an example's numbers to a model of bob's, of lab's data as they are -> the address."""
    bob, lab = ada.hub.api("bob"), ada.hub.api("ada")
    bob.create_repo("bob/stock")
    bob.upload_file(path_or_fileobj=THEIRS.encode(), path_in_repo="README.md", repo_id="bob/stock")
    lab.create_repo("lab/levels", repo_type="dataset")

    def offered(value: float = 0.5, target: str = "emotion", **arguments: Any) -> str:
        content = example()
        content["data"]["target"] = target
        content["run"]["arguments"] = arguments
        content["metrics"] = [{**content["metrics"][0], "value": value, "low": 0.0, "high": 1.0}]
        return offer_results(check_offer("bob/stock", "lab/levels"), Results(**content), f"measure --value {value}")

    return offered


def _offered(ada: Command, number: int) -> list[Any]:
    card = files_of(ada.hub, "bob/stock", "model", f"refs/pr/{number}")["README.md"].decode()
    return [found for found in ModelCard(card).data.eval_results if found.dataset_type == "lab/levels"]


def test_numbers_of_newer_data_take_the_place_of_the_older_and_are_told_of(
    ada: Command, offer: Callable[..., str]
) -> None:
    url = offer(0.5)
    api = ada.hub.api("ada")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="notes.txt", repo_id="lab/levels", repo_type="dataset")
    assert offer(0.6) == url
    (found,) = _offered(ada, 1)
    assert found.metric_value == 0.6 and found.dataset_revision == api.dataset_info("lab/levels").sha
    first, second = (e.content for e in api.get_discussion_details("bob/stock", 1).events if e.type == "comment")
    assert "--value 0.5" in first and "--value 0.6" in second and "| 0.600 |" in second
    assert found.dataset_revision in second

    # The offer merged, the same numbers are no reason for another one.
    ada.hub.api("bob").merge_pull_request("bob/stock", 1)
    assert offer(0.6) == f"{ada.hub.endpoint}/bob/stock"
    assert len(list(api.get_repo_discussions("bob/stock"))) == 1


def test_what_was_measured_otherwise_is_another_offer(ada: Command, offer: Callable[..., str]) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"target": "mood"},
        {"label_map": {"anger": "high", "sadness": "low"}},
        {"label_map": {"anger": "low", "sadness": "high"}},
        {"only": "fold=1"},
        {"dataset_config": "noisy"},
    ]
    urls = [offer(**measurement) for measurement in asked]
    assert len({*urls}) == len(asked)
    assert [offer(**measurement) for measurement in asked] == urls
    assert offer(label_map={"anger": "Anger"}) == urls[0]  # the same label, which the data write otherwise
    titles = [found.title for found in ada.hub.api("bob").get_repo_discussions("bob/stock")][::-1]
    start = "Add evaluation results on lab/levels (test"
    assert titles[:3] == [f"{start}, emotion)", f"{start}, mood)", f"{start}, emotion, with a label map)"]
    assert titles[5] == "Add evaluation results on lab/levels (noisy, test, emotion)"
    assert _offered(ada, 6)[0].dataset_config == "noisy"
    assert _offered(ada, 3)[0].dataset_args == {"target": "emotion", **asked[2]}


def test_an_offer_does_not_undo_what_others_have_on_a_leaderboard(ada: Command, offer: Callable[..., str]) -> None:
    tasks = yaml.safe_dump({"tasks": [{"id": "levels"}]}).encode()
    lab, bob = ada.hub.api("ada"), ada.hub.api("bob")
    lab.upload_file(path_or_fileobj=tasks, path_in_repo="eval.yaml", repo_id="lab/levels", repo_type="dataset")
    theirs = [{"dataset": {"id": "lab/levels", "task_id": task}, "value": 0.1} for task in ("other", "levels")]
    name = ".eval_results/lab--levels.yaml"
    bob.upload_file(path_or_fileobj=yaml.safe_dump(theirs).encode(), path_in_repo=name, repo_id="bob/stock")
    offer(0.5)
    there = yaml.safe_load(files_of(ada.hub, "bob/stock", "model", "refs/pr/1")[name])
    assert [(entry["dataset"]["task_id"], entry["value"]) for entry in there] == [("other", 0.1), ("levels", 0.5)]


def _lay(ada: Command, card: bytes) -> None:
    """Puts a card there that the Hub took before it looked at metadata."""
    there = ada.hub.site.repositories["model", "bob/stock"]
    head = there.find("main")
    there.move("main", there.write(head, {**head.files, "README.md": regular_blob(card)}, Author("bob", "A card")).oid)


def test_a_mark_of_byte_order_is_no_part_of_a_card(ada: Command, offer: Callable[..., str]) -> None:
    _lay(ada, b"\xef\xbb\xbf" + THEIRS.encode())
    offer(0.5)
    card = files_of(ada.hub, "bob/stock", "model", "refs/pr/1")["README.md"].decode()
    assert card.startswith("---\nlicense: mit\n") and len(_offered(ada, 1)) == 1


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (b"\xff\xfe caf\xe9", "its README.md is not UTF-8"),
        (b"---\nlicense: mine\n---\n", "the metadata of README.md are refused"),
    ],
)
def test_a_card_that_can_not_be_read_is_refused_in_a_line(
    ada: Command, offer: Callable[..., str], card: bytes, said: str
) -> None:
    _lay(ada, card)
    with pytest.raises(InputError, match=said):
        offer()
    assert not list(ada.hub.api("bob").get_repo_discussions("bob/stock"))


def test_private_data_are_not_told_of_on_a_public_model_s_card(ada: Command) -> None:
    api = ada.hub.api("ada")
    api.create_repo("ada/open")
    api.create_repo("ada/closed", private=True)
    api.create_repo("lab/secret", repo_type="dataset", private=True)
    with pytest.raises(InputError, match=r"would tell of a private data set on a public model's card \(lab/secret, a"):
        check_offer("ada/open", "lab/secret")
    assert isinstance(check_offer("ada/closed", "lab/secret"), Offer)


def test_gated_data_have_names_that_everybody_knows() -> None:
    data = DatasetInfo(id="lab/ask", private=False, gated="manual", downloads=0, likes=0, tags=[])
    check_may_be_told(ModelInfo(id="bob/stock", private=False), data)


def test_data_that_lie_here_are_not_those_of_the_hub(ada: Command, tmp_path: Path) -> None:
    (tmp_path / "lab" / "levels").mkdir(parents=True)
    with pytest.raises(InputError, match="lab/levels is one of the prepared corpora here, not the Hub's"):
        check_offer("bob/stock", "lab/levels", data_dir=str(tmp_path))


def test_the_commits_are_those_from_before_it_was_measured(ada: Command, offer: Callable[..., str]) -> None:
    bob = ada.hub.api("bob")
    bob.create_tag("bob/stock", tag="v1")
    at_tag = bob.model_info("bob/stock").sha
    bob.upload_file(path_or_fileobj=b"x", path_in_repo="notes.txt", repo_id="bob/stock")
    assert check_offer("bob/stock", "lab/levels", revision="v1").model_commit == at_tag
    assert check_offer("bob/stock", "lab/levels").model_commit == bob.model_info("bob/stock").sha != at_tag


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("--target emotion --data-dir /home/ada/secret --seed 3", "--target emotion --seed 3"),
        ("--audio-root=/home/ada/secret --output_dir x --synthetic", "--synthetic"),
        ("--reader /home/ada/secret/reader.csv --only=/home/ada/x", "--reader reader.csv --only=x"),
        ("--columns '{audio: /home/ada/file, text: a}'", "--columns '{audio: file, text: a}'"),
        ("--columns '{audio: file}' --bins 10,20 --seed 010", "--columns '{audio: file}' --bins 10,20 --seed 010"),
    ],
)
def test_no_place_is_told(given: str, told: str) -> None:
    assert shlex.join(_without_places(shlex.split(given))) == told


OURS = [
    {
        "task": {"type": "audio-classification"},
        "dataset": {"name": "lab/levels", "type": "lab/levels", "split": "test", "revision": "2" * 40},
        "metrics": [{"type": "accuracy", "value": 0.5, "name": "Accuracy (WA)"}],
    }
]


def test_what_others_wrote_into_the_metadata_stays_letter_by_letter() -> None:
    head = "---\n# a comment\nlanguage: no\nlicense: mit  # as agreed\n"
    index = (
        "model-index:\n- name: first\n  results:\n  - task:\n      type: audio-classification\n    dataset:\n"
        "      name: a\n      type: bob/a\n    metrics:\n    - type: accuracy\n      value: 0.250\n"
    )
    second = (
        "- name: second\n  results:\n  - task:\n      type: audio-classification\n    dataset:\n      name: b\n"
        "      type: bob/b\n    metrics:\n    - type: accuracy\n      value: 0.5\n      extra: kept?\n"
    )
    tail = "# of the rest\ntags:\n- speech\nmine: {a: 1e-3}\n---\n\n# Bob\n"
    card = card_with(head + index + second + tail, "bob/stock", OURS)
    assert card.startswith(head + index) and card.endswith(second + tail)
    first, other = yaml.safe_load(card.split("---\n")[1])["model-index"]
    assert first["results"][1] == OURS[0] and len(first["results"]) == 2 and other["name"] == "second"
    assert card_with(card, "bob/stock", OURS) == card


def test_only_the_same_number_is_replaced() -> None:
    older = json.loads(json.dumps(OURS))
    older[0]["dataset"]["revision"] = "1" * 40
    older[0]["metrics"] = [{**OURS[0]["metrics"][0], "value": 0.4}, {"type": "f1", "value": 0.3}]  # type: ignore[index, dict-item]
    card = f"---\n{yaml.safe_dump({'model-index': [{'name': 'm', 'results': older}]})}---\n"
    old, new = ModelCard(card_with(card, "bob/m", OURS)).data.eval_results
    assert (old.metric_type, old.metric_value, new.metric_type, new.metric_value) == ("f1", 0.3, "accuracy", 0.5)


@pytest.mark.parametrize(
    "card",
    [
        "",
        "# Bob\n",
        "---\n\n---\n",
        "---\nlicense: mit\n---\n\n# Bob\n",
        "---\r\nlicense: mit\r\n---\r\n\r\n# Bob\r\n",
        "---\n{license: mit, model-index: [{name: a, results: []}]}\n---\n",
        "---\n  license: mit\n  model-index:\n---\n",
        "---\nmodel-index: []\nlicense: mit\n---\n",
    ],
)
def test_every_form_of_metadata_takes_results(card: str) -> None:
    made = card_with(card, "bob/stock", OURS)
    (found,) = ModelCard(made).data.eval_results
    assert (found.metric_value, found.dataset_type) == (0.5, "lab/levels")
    assert ModelCard(made).data.license == ("mit" if "mit" in card else None)
    assert made.endswith(card.partition("# Bob")[1] + card.partition("# Bob")[2])
    assert "\r" not in card or made.count("\n") == made.count("\r\n")


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ("license: [mit", "while parsing a flow sequence.*"),
        ("- a", "it is no table"),
        ("model-index: 3", "model-index is no list"),
        ("model-index: [a]", "the first entry of model-index is no table"),
        ("model-index: [{results: 3}]", "results is no list"),
    ],
)
def test_metadata_of_another_shape_are_refused(front: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"^bob/stock: the metadata of its README.md can't be read \({said}\); its "):
        card_with(f"---\n{front}\n---\n", "bob/stock", OURS)
