"""The top of a README: what the Hub takes, what it refuses, in what words."""

from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard, SpaceCard

from .metadata import check, front_matter
from .server import Hub

RESULT = "model-index: [{name: m, results: [{task: {type: t}, dataset: {type: d, name: D}, metrics: [%s]}]}]"
GOOD = {
    "model": [
        "license: mit\nlanguage: [de, en, yue, multilingual]\npipeline_tag: audio-classification\ntags: [a]",
        "license: other\nlicense_name: mine\nbase_model: a/b\ndatasets: [common_voice, a/b]\nmetrics: [recall]",
        RESULT % "{type: eer, value: 0.5, name: EER, args: {a: 1}, verified: true}",
        RESULT % '{type: eer, value: "20.0 ± 1.2"}',
        "anything: {else: 1}",
    ],
    "dataset": [
        "pretty_name: P\ntask_categories: [audio-classification]\nsize_categories: [n<1K]",
        "configs: [{config_name: a, data_files: [{split: train, path: data/*}]}, {config_name: b, data_files: x.csv}]",
        "dataset_info: {features: [{name: a, dtype: int64}], splits: []}",
    ],
    "space": ["sdk: gradio\napp_file: app.py\nemoji: 🔊\ncolorFrom: red\nmodels: [a/b]\nsdk_version: 6.31.0"],
}
BAD = {
    "model": {
        "license: none": '"license" must be one of [afl-3.0, ',
        "license: [mit, 1]": '"license[1]" must be one of',
        "language: German": '"language" with value "German" is not valid. It must be an ISO 639-1',
        "language: [no]": '"language[0]" with value "False" is not valid',
        "pipeline_tag: speech": '"pipeline_tag" must be one of [any-to-any, ',
        "tags: speech": '"tags" must be an array',
        "tags: [1]": '"tags[0]" must be a string',
        "datasets: [/var/data/]": '"datasets[0]" with value "/var/data/" is not valid. If possible, use a dataset id',
        "base_model: ./checkpoints/last": '"base_model" with value "./checkpoints/last" is not valid',
        "widget: {}": '"widget" must be an array',
        "model-index: {}": '"model-index" must be an array',
        "model-index: [{name: m}]": '"model-index[0].results" is required',
        "model-index: [{name: m, results: [{task: {}, dataset: {}, metrics: []}]}]": (
            '"model-index[0].results[0].task.type" is required'
        ),
        RESULT % "{type: eer}": '"model-index[0].results[0].metrics[0].value" is required',
        RESULT % "{type: eer, value: .nan}": "must be a string or a finite number",
        RESULT % "{type: eer, value: 1, verified: 1}": '.verified" must be a boolean',
        "- a": "The YAML metadata must be a mapping",
        "a: [": "Invalid YAML: ",
        "license: mit\ntags: [a]\nlicense: mit": "Invalid YAML: duplicated mapping key license",
        "a: b: c": "Invalid YAML: mapping values are not allowed here",
    },
    "dataset": {
        "configs: [{data_files: x.csv}]": '"configs[0].config_name" is required',
        "configs: [{config_name: a, data_files: [{split: train}]}]": '"configs[0].data_files[0].path" is required',
        "task_categories: [speech]": '"task_categories[0]" must be one of',
        "language: deu1": "ISO 639-1",
    },
    "space": {
        "title: T": '"sdk" is required',
        "sdk: flask": '"sdk" must be one of [docker, gradio, static, streamlit]',
        "sdk: gradio\napp_file: 1": '"app_file" must be a string',
        "sdk: gradio\nsdk_version: 6.0": '"sdk_version" must be a string',
        "sdk: gradio\ncolorTo: mauve": '"colorTo" must be one of',
        "sdk: gradio\nshort_description: " + "a" * 61: "less than or equal to 60",
    },
}


@pytest.mark.parametrize(("kind", "yaml"), [(kind, yaml) for kind, yamls in GOOD.items() for yaml in yamls])
def test_good_metadata(kind: str, yaml: str) -> None:
    assert check(f"---\n{yaml}\n---\n# Text\n", kind) == ([], [])


@pytest.mark.parametrize(
    ("kind", "yaml", "message"), [(kind, yaml, message) for kind, each in BAD.items() for yaml, message in each.items()]
)
def test_bad_metadata(kind: str, yaml: str, message: str) -> None:
    errors, warnings = check(f"---\n{yaml}\n---\n# Text\n", kind)
    assert message in errors[0] and warnings == []


@pytest.mark.parametrize(
    ("text", "content", "body"),
    [
        ("---\na: 1\n---\ntext\n", {"a": 1}, "text\n"),
        ("---\r\na: 1\r\n---\r\ntext\r\n", {"a": 1}, "text\r\n"),
        ("\ufeff---\na: 1\n---", {"a": 1}, ""),
        ("---\n---\ntext", None, "text"),
        ("text\n---\na: 1\n---\n", None, "text\n---\na: 1\n---\n"),
        ("---\na: '---'\nb: |\n  ---\n---\ntext", {"a": "---", "b": "---"}, "text"),
        ("# Title\n", None, "# Title\n"),
    ],
)
def test_where_the_metadata_ends(text: str, content: dict | None, body: str) -> None:
    found, rest = front_matter(text)
    assert rest == body
    assert {key: value.strip() if isinstance(value, str) else value for key, value in (found or {}).items()} == (
        content or {}
    )


def test_cards_of_the_package_are_taken() -> None:
    card = Path(__file__).parents[1] / "hub" / "card.golden.md"
    assert check(card.read_text(), "model") == ([], [])


def test_no_metadata_is_a_warning_and_for_spaces_an_error(hub: Hub) -> None:
    assert check("# Text\n", "model") == ([], ["empty or missing yaml metadata in repo card"])
    assert check("# Text\n", "space") == (["Missing configuration in README"], [])
    api = hub.api("ada")
    api.create_repo("ada/model")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.upload_file(path_or_fileobj=b"# Text\n", path_in_repo="README.md", repo_id="ada/model")


def test_the_client_hears_of_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    with pytest.raises(ValueError, match=r'Invalid metadata in README\.md\.\n- "license" must be one of'):
        api.upload_file(path_or_fileobj=b"---\nlicense: x\n---\n", path_in_repo="README.md", repo_id="ada/model")
    assert not api.file_exists("ada/model", "README.md")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)  # cards know no other
    ModelCard("---\nlicense: mit\n---\n").validate()
    with pytest.raises(ValueError, match="pipeline_tag"):
        ModelCard("---\npipeline_tag: x\n---\n").validate()
    with pytest.raises(ValueError, match="task_categories"):
        DatasetCard("---\ntask_categories: [x]\n---\n").validate()
    with pytest.raises(ValueError, match="sdk"):
        SpaceCard("---\ntitle: x\n---\n").validate()
