"""The YAML in front of a card: what the Hub reads of it."""

import re
from typing import TYPE_CHECKING, Any

from .encoder_card import is_encoder
from .words import (
    Facts,
    hub_dataset,
    hub_type,
    is_held_out,
    is_hub_id,
    is_of_trials,
    is_on_hub,
    is_trained,
    metric_title,
    tasks_of,
    whole,
)

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


def metadata(results: Facts) -> str:
    """The YAML between the card's two --- lines; numbers of groups are left to the text.

    Args:
        results: the content of results.json.
    """
    from huggingface_hub import ModelCardData

    model, data = results["model"], results["data"]
    of_encoder = is_encoder(results)
    measured = [] if of_encoder else evaluations(results)
    # The Hub refuses a card with a language or a license that it does not know; other ones stand in the text only.
    languages = [language for language in data["language"] if re.fullmatch(r"[a-z]{2,3}", language)]
    license_id = model.get("license")
    listed = license_id is None or re.fullmatch(r"[a-z0-9.-]+", license_id)
    base = model["backbone"] if is_hub_id(model["backbone"]) else None
    published = hub_dataset(results)
    return ModelCardData(
        language=languages or None,
        license=license_id if listed else "other",
        license_name=None if listed else license_id,
        library_name="transformers",
        pipeline_tag="feature-extraction" if of_encoder else model["task"],
        tags=_tags(results),
        base_model=base,
        base_model_relation="finetune" if base else None,
        datasets=[published] if published else None,
        metrics=list(dict.fromkeys(evaluation.metric_type for evaluation in measured)) or None,
        model_name=model["name"],
        eval_results=measured or None,
        co2_eq_emissions=_emissions(results),
    ).to_yaml()


def _tags(results: Facts) -> list[str]:
    targets = [
        task["name"] for task in tasks_of(results) if task["name"] and " " not in task["name"]
    ]  # no tag has a space
    measured_so = any(is_of_trials(metric["name"]) for metric in results["metrics"])
    more = ["speaker-verification"] if measured_so else []
    return [
        "hf_speech",
        "speech",
        *targets,
        *more,
        *(["synthetic"] if results["data"]["synthetic"] and is_trained(results) else []),
    ]


def evaluations(results: Facts, revision: str | None = None) -> "list[EvalResult]":
    """The numbers that are defined, as the metadata of a card have them; not those of groups.

    Where something was held out, only its numbers: a reader of the metadata alone can't tell which the choices were
    made by.

    Args:
        results: the content of results.json.
        revision: of the data set, where it is known.
    """
    from huggingface_hub import EvalResult

    known = [metric for metric in whole(results["metrics"]) if metric["value"] is not None]
    return [
        EvalResult(
            task_type=results["model"]["task"],
            dataset_type=_dataset_type(metric["dataset"], is_on_hub(results, metric["dataset"])),
            dataset_name=metric["dataset"],
            dataset_split=metric["split"],
            dataset_revision=revision,
            metric_type=hub_type(metric["name"])[0],
            metric_name=metric_title(metric["name"]),
            metric_args=hub_type(metric["name"])[1],
            metric_value=metric["value"],
        )
        for metric in [metric for metric in known if is_held_out(metric["split"])] or known
    ]


def _dataset_type(name: str, on_hub: bool) -> str:
    """A data set's name as the Hub takes it there: OWNER/NAME of one that it has, or one word.

    >>> _dataset_type("EMO-DB, seven actors", False), _dataset_type("user/data", True), _dataset_type("a/b", False)
    ('EMO-DB-seven-actors', 'user/data', 'a-b')
    """
    return name if on_hub else re.sub(r"[^\w.]+", "-", name, flags=re.ASCII).strip("-") or "data"


def _emissions(results: Facts) -> dict[str, Any] | None:
    """What the Hub shows of the training's energy; None where it was not measured, or not of all of the training."""
    run = results["run"]
    energy = run.get("energy")
    if energy is None or energy["from_step"] or run["recipe"].get("encoder_run_once"):
        return None
    place = ", ".join(filter(None, (energy.get("region"), energy.get("country"))))
    facts = {
        "emissions": float(f"{1000 * energy['co2_kg']:.4g}"),  # the Hub has grams
        "source": energy["source"],
        "training_type": "fine-tuning" if is_hub_id(results["model"]["backbone"]) else None,
        "geographical_location": place or None,
        "hardware_used": energy.get("hardware"),
    }
    return {name: value for name, value in facts.items() if value is not None}
