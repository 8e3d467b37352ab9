"""`hf-speech evaluate USER/MODEL USER/DATA --push-results`: what was measured, offered to a model's card.

The offer is a pull request that adds the numbers to the card's metadata and, where the data set is a benchmark of the
Hub, to `.eval_results`; what others wrote there stays as it is. An open offer of one's own of the same measurement is
brought up to date.
"""

import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..data.home import find_dataset
from ..errors import InputError, one_line
from ..results import Results
from .benchmarks import benchmark_files
from .connection import in_our_words, log_in, patiently
from .markdown import markdown_table
from .metadata import evaluations
from .parcel import CARD
from .push import check_card
from .words import interval_of, is_hub_id, metric_title, value_of, whole

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi, ModelInfo

logger = logging.getLogger(__name__)

INDEX = "model-index"
# Fields of an evaluation by which one data set gives other numbers.
_DECISIVE = ("dataset_config", "bins", "only", "channel", "max_seconds", "tasks")
_END = re.compile(r"(?:\n[ \t]*(?:#.*)?)*\Z")  # comments and empty lines at the end of a text


@dataclass(frozen=True)
class Offer:
    """What is to be measured and offered, as the Hub has it before.

    Attributes:
        api: the Hub's client.
        model: OWNER/NAME.
        model_commit: what its revision is at.
        dataset: OWNER/NAME.
        dataset_commit: what it is at.
    """

    api: "HfApi"
    model: str
    model_commit: str
    dataset: str
    dataset_commit: str


def check_offer(model: str, dataset: str, *, revision: str | None = None, data_dir: str | None = None) -> Offer:
    """Finds out before anything is measured whether its results could be offered.

    Args:
        model: as it was given.
        dataset: as it was given.
        revision: branch, tag or commit of the model that is to be measured.
        data_dir: where prepared corpora lie; one of the data set's name would be measured on in its place.

    Raises:
        InputError: there is no token, the model or the data set is not on the Hub, or who sees the model may not know
            of the data set.
    """
    for what, name in (("model", model), ("data set", dataset)):
        if not is_hub_id(name) or Path(name).exists():
            mend = "give its name there, OWNER/NAME, or leave --push-results out"
            raise InputError(f"--push-results: {name} is no {what} on the Hub; {mend}")
    if find_dataset(dataset, data_dir) != dataset:
        mend = "leave --data-dir and $HF_SPEECH_DATA out, or --push-results"
        raise InputError(f"--push-results: {dataset} is one of the prepared corpora here, not the Hub's; {mend}")
    api = log_in()
    with in_our_words(model):
        there = patiently(lambda: api.model_info(model, revision=revision), model)
    with in_our_words(dataset):
        data = patiently(lambda: api.dataset_info(dataset), dataset)
    check_may_be_told(there, data)
    return Offer(api, model, str(there.sha), dataset, str(data.sha))


def check_may_be_told(model: "ModelInfo", data: "DatasetInfo") -> None:
    """Refuses to tell on a card of more readers than a data set has.

    Raises:
        InputError: the data set is private, and the model is public.
    """
    if data.private and not model.private:
        mend = "make the model private or the data set public, or leave --push-results out"
        raise InputError(
            f"push-results would tell of a private data set on a public model's card ({data.id}, {model.id}); {mend}"
        )


def offer_results(offer: Offer, results: Results, command: str) -> str:
    """Offers results as a pull request -> its address; the model's, where its card has these very numbers.

    Args:
        offer: what was measured.
        results: of it.
        command: that measured it.

    Raises:
        InputError: nothing was measured, what is there can't be read, or the Hub refuses.
    """
    from huggingface_hub import CommitOperationAdd

    api, model = offer.api, offer.model
    measured = [{**m, "dataset": offer.dataset} for m in whole(results.metrics) if m["value"] is not None]
    if not measured:
        raise InputError(f"{model}: there is no number to offer")
    title, text = _title(offer, results, measured), _description(offer, results, measured, command)
    with in_our_words(model):
        number = _open_offer(api, model, title, _mark(offer, results))
        revision = f"refs/pr/{number}" if number else None
        head = patiently(lambda: api.model_info(model, revision=revision), model).sha
        files = _files(offer, results, measured, str(head))
        check_card(api, model, "model", files[CARD])
        operations = [CommitOperationAdd(name, content.encode()) for name, content in files.items()]
        commit = patiently(
            lambda: api.create_commit(
                model,
                operations,
                commit_message=title,
                commit_description=text,
                revision=revision,
                create_pr=number is None,
                parent_commit=head,  # a change of others in between is not undone
            ),
            model,
            may_have_happened=False,
        )
        if number is not None:
            _comment(api, model, number, text)
    if number is None and commit.pr_url is None:
        logger.info("%s: its card has these numbers already", model)
        return f"{api.endpoint}/{model}"
    return commit.pr_url or f"{api.endpoint}/{model}/discussions/{number}"


def _open_offer(api: "HfApi", model: str, title: str, mark: str) -> int | None:
    """The number of an open pull request of one's own that offers the same; None: there is none."""
    me = api.whoami(cache=True)["name"]

    def found() -> list[Any]:
        return list(
            api.get_repo_discussions(model, author=me, discussion_type="pull_request", discussion_status="open")
        )

    alike = [offer.num for offer in patiently(found, model) if offer.title == title]
    return next((number for number in alike if mark in _said(api, model, number)[0]), None)


def _said(api: "HfApi", model: str, number: int) -> list[str]:
    """What was said in a pull request: its description, and the comments."""
    details = patiently(lambda: api.get_discussion_details(model, number), model)
    return [str(event.content) for event in details.events if event.type == "comment"] or [""]


def _comment(api: "HfApi", model: str, number: int, text: str) -> None:
    """Tells of new numbers in an offer that is there, if they were not the last thing told."""
    if text.strip() not in _said(api, model, number)[-1]:
        said = f"Measured again; this holds instead of what stands above.\n\n{text}"
        patiently(lambda: api.comment_discussion(model, number, said), model, may_have_happened=False)


def _conditions(results: Results) -> dict[str, Any]:
    """What decides, besides the model, the data set and the split, which numbers come out."""
    arguments = results.run["arguments"]
    renamed = (arguments.get("label_map") or {}).items()
    label_map = {label: name for label, name in renamed if name is None or name.casefold() != label.casefold()}
    given = {name: arguments[name] for name in _DECISIVE if arguments.get(name) is not None}
    return {"target": results.data["target"], **given, **({"label_map": label_map} if label_map else {})}


def _title(offer: Offer, results: Results, measured: Sequence[Mapping[str, Any]]) -> str:
    conditions = _conditions(results)
    parts = [conditions.get("dataset_config"), *dict.fromkeys(m["split"] for m in measured), conditions["target"]]
    parts += ["with a label map"] if "label_map" in conditions else []
    return f"Add evaluation results on {offer.dataset} ({', '.join(filter(None, parts))})"


def _mark(offer: Offer, results: Results) -> str:
    """A comment that no page shows, by which an offer of the same measurement is known."""
    content = json.dumps([offer.dataset, _conditions(results)], sort_keys=True, default=str)
    return f"<!-- hf_speech offers: {hashlib.sha256(content.encode()).hexdigest()[:16]} -->"


def _description(offer: Offer, results: Results, measured: Sequence[dict[str, Any]], command: str) -> str:
    rows = [(metric_title(m["name"]), value_of(m), interval_of(m), m["split"], m["n"]) for m in measured]
    table = markdown_table(("Metric", "Value", "95 % interval", "Split", "n"), rows)
    versions = ", ".join(f"{name} {version}" for name, version in results.run["versions"].items())
    marks = ", ".join(dict.fromkeys(f"`{metric['fingerprint']}`" for metric in measured if metric["fingerprint"]))
    units = " and ".join(dict.fromkeys(metric["interval_unit"] for metric in measured))
    return (
        f"{table}\n\nMeasured with\n\n    {command}\n\n({versions}; {results.run['device']}) on {offer.dataset} at "
        f"`{offer.dataset_commit}`, of the model at `{offer.model_commit}`. The intervals come from a bootstrap by "
        f"{units}. Fingerprint of what was measured: {marks}.\n\n{_mark(offer, results)}"
    )


def _files(offer: Offer, results: Results, measured: Sequence[dict[str, Any]], head: str) -> dict[str, str]:
    """The files of the offer: path in the model's repository -> content, with what others have there at a commit."""
    api, model = offer.api, offer.model
    files = {CARD: card_with(_there(api, model, CARD, head) or "", model, _entries(offer, results))}
    address = f"{api.endpoint}/datasets/{offer.dataset}"
    for name, text in benchmark_files(api, measured, _conditions(results).get("dataset_config"), address).items():
        files[name] = _with_others(f"{model}: its {name}", _there(api, model, name, head), text)
    return files


def _there(api: "HfApi", model: str, name: str, commit: str) -> str | None:
    """The text of a file at a commit, its line ends as they are; None: there is no such file.

    Raises:
        InputError: it is no UTF-8.
    """
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        path = patiently(lambda: api.hf_hub_download(model, name, revision=commit), model)
        return Path(path).read_bytes().decode("utf-8-sig")
    except RemoteEntryNotFoundError:
        return None
    except UnicodeDecodeError:
        raise InputError(f"{model}: its {name} is not UTF-8; its owner has to save it as UTF-8 first") from None


def _with_others(what: str, there: str | None, ours: str) -> str:
    """Our entries of a benchmark behind those of other tasks that are there."""
    try:
        theirs = yaml.safe_load(there or "") or []
    except yaml.YAMLError as error:
        raise InputError(f"{what} can't be read ({one_line(error)}); its owner has to mend it first") from None
    if not isinstance(theirs, list) or not all(isinstance(entry, dict) for entry in theirs):
        raise InputError(f"{what} is no list of tables; its owner has to mend it first")
    entries = yaml.safe_load(ours)
    tasks = [entry["dataset"]["task_id"] for entry in entries]
    others = [e for e in theirs if not isinstance(e.get("dataset"), dict) or e["dataset"].get("task_id") not in tasks]
    return yaml.safe_dump([*others, *entries], sort_keys=False, allow_unicode=True)


def _entries(offer: Offer, results: Results) -> list[dict[str, Any]]:
    """The results as a model-index has them; of the data set, `args` say what decides the numbers besides it."""
    from huggingface_hub.repocard_data import eval_results_to_model_index

    conditions = _conditions(results)
    config = conditions.pop("dataset_config", None)
    data = {"dataset_type": offer.dataset, "dataset_name": offer.dataset}
    found = evaluations(asdict(results), offer.dataset_commit)
    ours = [replace(one, **data, dataset_config=config, dataset_args=conditions) for one in found]
    return list(eval_results_to_model_index(offer.model, ours)[0]["results"])


def card_with(card: str, model: str, ours: Sequence[Mapping[str, Any]]) -> str:
    """A card with further results in the first entry of its model-index, in the place of those of the same thing.

    All else stays letter by letter, but for comments within the model-index, which are lost.

    Args:
        card: the text of README.md; "" where there is none.
        model: OWNER/NAME.
        ours: results, as a model-index has them.

    Raises:
        InputError: its metadata can't be read.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    block = REGEX_YAML_BLOCK.match(card)
    front = block[2].replace("\r\n", "\n") if block else ""
    try:
        front = _with_index(front, model.partition("/")[2], ours)
    except (ValueError, yaml.YAMLError) as error:
        said = f"the metadata of its {CARD} can't be read ({one_line(error)})"
        raise InputError(f"{model}: {said}; its owner has to mend it first") from error
    if not block:
        return f"---\n{front}\n---\n" + (f"\n{card}" if card else "")
    front = front.replace("\n", "\r\n") if "\r\n" in block[0] else front
    return f"{block[1]}{front}{card[block.end(2) :]}"


def _with_index(front: str, name: str, ours: Sequence[Mapping[str, Any]]) -> str:
    """Metadata with further results; nodes are edited and not values, so that `no` and 0.10 stay what they are."""
    root = yaml.compose(front, Loader=yaml.SafeLoader) or _node({})
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("it is no table")
    if root.value and (root.flow_style or root.start_mark.column):  # to have each key in lines of its own
        root.flow_style = False
        return _with_index(_text(root), name, ours)
    keys = [key.value for key, _ in root.value]
    index = _list(root, INDEX)
    if not index.value:
        index.value.append(_node({"name": name, "results": []}))
    first = index.value[0]
    if not isinstance(first, yaml.MappingNode):
        raise ValueError(f"the first entry of {INDEX} is no table")
    results = _list(first, "results")
    kept = [node for node in (_without(there, ours) for there in results.value) if node is not None]
    results.value, results.flow_style = [*kept, *_node(list(ours)).value], False
    index.flow_style = first.flow_style = False
    text = _text(yaml.MappingNode("tag:yaml.org,2002:map", [(_node(INDEX), index)], flow_style=False))
    if INDEX not in keys:
        return f"{front.rstrip()}\n{text}".lstrip()
    place = keys.index(INDEX)
    start = root.value[place][0].start_mark.index
    end = root.value[place + 1][0].start_mark.index if place + 1 < len(keys) else len(front)
    comments = _END.search(front[start:end].rstrip("\n"))
    tail = f"{comments[0] if comments else ''}\n" if end < len(front) else ""
    return f"{front[:start]}{text}{tail}{front[end:]}"


def _without(there: yaml.Node, ours: Sequence[Mapping[str, Any]]) -> yaml.Node | None:
    """A result of a model-index without the numbers that ours take the place of; None: nothing is left of it."""
    content = _value(there)
    same = next((one for one in ours if _about(one) == _about(content)), None)
    if same is None or not isinstance(there, yaml.MappingNode):
        return there
    metrics = _list(there, "metrics")
    replaced = [_unvalued(metric) for metric in same["metrics"]]
    metrics.value = [metric for metric in metrics.value if _unvalued(_value(metric)) not in replaced]
    return there if metrics.value else None


def _about(result: Any) -> Any:
    """What a result of a model-index is of: all of it but the numbers, and the commit of the data set."""
    if not isinstance(result, Mapping) or not isinstance(result.get("dataset"), Mapping):
        return None
    data = {name: value for name, value in result["dataset"].items() if name != "revision"}
    return {**{name: value for name, value in result.items() if name != "metrics"}, "dataset": data}


def _unvalued(metric: Any) -> Any:
    return {name: item for name, item in metric.items() if name != "value"} if isinstance(metric, Mapping) else metric


def _list(table: yaml.MappingNode, name: str) -> yaml.SequenceNode:
    """The list of that name in a table, which gets an empty one where it has none."""
    for i, (key, value) in enumerate(table.value):
        if key.value == name:
            if value.tag == "tag:yaml.org,2002:null":
                value = _node([])
                table.value[i] = (key, value)
            if not isinstance(value, yaml.SequenceNode):
                raise ValueError(f"{name} is no list")
            return value
    made: yaml.SequenceNode = _node([])
    table.value.append((_node(name), made))
    return made


def _node(value: Any) -> Any:
    return yaml.compose(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), Loader=yaml.SafeLoader)


def _text(node: yaml.Node) -> str:
    text: str = yaml.serialize(node, Dumper=yaml.SafeDumper, allow_unicode=True, width=math.inf)
    return text.rstrip("\n")


def _value(node: yaml.Node) -> Any:
    return yaml.safe_load(_text(node))
