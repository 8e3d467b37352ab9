"""`hf-speech evaluate USER/MODEL USER/DATA --push-results`: what was measured, offered to a model's card.

The offer is a pull request that adds the numbers to the card's metadata and, where the data set is a benchmark of the
Hub, to `.eval_results`; text that somebody wrote stays as it is. An open offer of one's own is brought up to date.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import InputError, one_line
from ..results import Results
from .benchmarks import benchmark_files
from .connection import in_our_words, log_in, patiently
from .markdown import markdown_table
from .metadata import evaluations
from .parcel import CARD
from .words import interval_of, is_hub_id, metric_title, value_of, whole

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, HfApi


def check_offer(model: str, dataset: str) -> "HfApi":
    """Finds out before anything is measured whether its results could be offered; gives the Hub's client.

    Args:
        model: as it was given.
        dataset: as it was given.

    Raises:
        InputError: there is no token, the model or the data set is not on the Hub.
    """
    for what, name in (("model", model), ("data set", dataset)):
        if not is_hub_id(name) or Path(name).exists():
            mend = "give its name there, OWNER/NAME, or leave --push-results out"
            raise InputError(f"--push-results: {name} is no {what} on the Hub; {mend}")
    api = log_in()
    with in_our_words(model):
        patiently(lambda: api.model_info(model), model)
    with in_our_words(dataset):
        patiently(lambda: api.dataset_info(dataset), dataset)
    return api


def offer_results(api: "HfApi", model: str, dataset: str, results: Results, command: str) -> str:
    """Offers results as a pull request -> its address.

    Args:
        api: the Hub's client.
        model: OWNER/NAME.
        dataset: OWNER/NAME, which was measured on.
        results: what was measured.
        command: that measured it.

    Raises:
        InputError: nothing was measured, the card can't be read, or the Hub refuses.
    """
    from huggingface_hub import CommitOperationAdd

    measured = [metric for metric in whole(results.metrics) if metric["value"] is not None]
    if not measured:
        raise InputError(f"{model}: there is no number to offer")
    splits = ", ".join(dict.fromkeys(metric["split"] for metric in measured))
    title = f"Add evaluation results on {dataset} ({splits})"
    with in_our_words(model):
        number = _open_offer(api, model, title)
        revision = f"refs/pr/{number}" if number else None
        data = patiently(lambda: api.dataset_info(dataset), dataset)
        card = _card_with(api, model, revision, evaluations(asdict(results), data.sha))
        config = results.run["arguments"].get("dataset_config")
        files = {CARD: card, **benchmark_files(api, measured, config, f"{api.endpoint}/datasets/{dataset}")}
        operations = [CommitOperationAdd(name, text.encode()) for name, text in files.items()]
        commit = patiently(
            lambda: api.create_commit(
                model,
                operations,
                commit_message=title,
                commit_description=_description(results, measured, command),
                revision=revision,
                create_pr=number is None,
            ),
            model,
            may_have_happened=number is not None,
        )
    return commit.pr_url or f"{api.endpoint}/{model}/discussions/{number}"


def _open_offer(api: "HfApi", model: str, title: str) -> int | None:
    """The number of an open pull request of one's own that offers the same; None: there is none."""
    me = api.whoami(cache=True)["name"]

    def found() -> list[Any]:
        return list(
            api.get_repo_discussions(model, author=me, discussion_type="pull_request", discussion_status="open")
        )

    return next((offer.num for offer in patiently(found, model) if offer.title == title), None)


def _card_with(api: "HfApi", model: str, revision: str | None, measured: Sequence["EvalResult"]) -> str:
    """The model's card with further results in its metadata, in the place of those of the same thing."""
    from huggingface_hub import ModelCard, ModelCardData
    from huggingface_hub.errors import EntryNotFoundError

    try:
        path = patiently(lambda: api.hf_hub_download(model, CARD, revision=revision), model)
        card = ModelCard(Path(path).read_text(encoding="utf-8"))
    except EntryNotFoundError:
        card = ModelCard(f"---\n{ModelCardData(model_name=model).to_yaml()}\n---\n")
    except (ValueError, yaml.YAMLError) as error:
        if not isinstance(error, yaml.YAMLError) and type(error) is not ValueError:
            raise
        raise InputError(f"{model}: the metadata of its {CARD} can't be read ({one_line(error)})") from error
    others = [r for r in card.data.eval_results or [] if not any(r.is_equal_except_value(m) for m in measured)]
    card.data.eval_results = [*others, *measured]
    card.data.model_name = getattr(card.data, "model_name", None) or model.partition("/")[2]
    return str(card)


def _description(results: Results, measured: Sequence[dict[str, Any]], command: str) -> str:
    rows = [(metric_title(m["name"]), value_of(m), interval_of(m), m["split"], m["n"]) for m in measured]
    table = markdown_table(("Metric", "Value", "95 % interval", "Split", "n"), rows)
    versions = ", ".join(f"{name} {version}" for name, version in results.run["versions"].items())
    marks = ", ".join(dict.fromkeys(f"`{metric['fingerprint']}`" for metric in measured if metric["fingerprint"]))
    units = " and ".join(dict.fromkeys(metric["interval_unit"] for metric in measured))
    return (
        f"{table}\n\nMeasured with\n\n    {command}\n\n({versions}; {results.run['device']}). The intervals come from "
        f"a bootstrap by {units}. Fingerprint of what was measured: {marks}."
    )
