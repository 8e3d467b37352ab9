"""`hf-speech layer-sweep`: which layer of an encoder tells most of a target? One pass over the data, a probe a layer.

The folder holds

    layers.csv        every number: probe, layer, level, group, metric, value, interval
    layers.png        the metric against the layer, and beside it the learned weights of a sum of layers
    results.json      the same numbers, how the layer was chosen, and what was run
    README.md         the page
    best/train.yaml   fields of a run with the best layer
    features/         what the encoder says of every recording; a sweep that was killed goes on from there
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...errors import InputError, lookup, unknown_name
from ...identity import settings_that_count
from ...layers.encoders import LayeredEncoder, load_layers
from ...layers.kept import kept_features
from ...layers.passes import STATISTICS
from ...layers.probes import STRENGTHS, Goal, fit_probe, fit_weighted_sum, inner_folds
from ...models.presets import PRESETS
from ...models.tasks import Task
from ...results import Results, run_facts
from ...training.config import RunConfig
from ...training.facts import data_facts, public_arguments
from ...training.hf_arguments import greater_is_better
from ...training.tasks import PRIMARY_METRIC, metrics_of
from ...training.work import DEFAULT_SEED
from ..members import experiment_folder
from .numbers import guessed, items_of, measured, score, task_of
from .parts import ALL, SweepRows, sweep_rows
from .tables import write_all

KIND = "layer sweep"
LINEAR, TRANSFORMER = "linear", "transformer"
PROBES = {LINEAR: (LINEAR,), TRANSFORMER: (TRANSFORMER,), "both": (LINEAR, TRANSFORMER)}
CHOSEN, WEIGHTED = "chosen", "weighted_sum"  # in the place of a layer's number


@dataclass(frozen=True)
class Probed:
    """What a probe of one layer said.

    Attributes:
        probe: "linear" or "transformer".
        layer: its number; or "chosen": in each fold the one that its training rows chose; or "weighted_sum".
        said: (N,) predictions of the rows that are tested.
        scores: part by part, by which a layer is chosen; none where it is not among those that are chosen from.
        facts: strengths, shares and the like, for results.json.
    """

    probe: str
    layer: int | str
    said: NDArray
    scores: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What is asked of the layers: the target, and what decides between them."""

    task: Task
    metric: str
    goal: Goal
    seed: int


def layer_sweep(
    config: RunConfig,
    root: Path,
    *,
    folds: str | None = None,
    layers: str = "all",
    probe: str = LINEAR,
    parallel: int = 1,
) -> Results:
    """Probes layers of an encoder, and writes what came out.

    Args:
        config: fields of a run: its backbone, its data and what of them is held out, its target.
        root: folder of the sweep; what the encoder has said there is not computed again.
        folds: what is held out in turn, see `experiments.folds`; None: as the fields divide the data.
        layers: "all", or numbers from 1 such as 3,6,9.
        probe: linear, transformer, or both; the last one chooses the layer.
        parallel: runs of the Transformer beside each other.

    Returns:
        The content of results.json.

    Raises:
        InputError: an encoder without layers, data that can't be used, nothing to test on, another experiment in the
            folder.
        BrokenRunError: some runs of the Transformer died.
    """
    started = time.monotonic()
    wanted = lookup(PROBES, probe, "probe")
    pooling = _check(config)
    encoder = _encoder(config, layers)
    if TRANSFORMER in wanted:
        from .runs import check_choosing, check_encoder

        check_encoder(str(config.model.backbone))
    rows = sweep_rows(config, folds, encoder.min_samples / encoder.rate)
    question = _question(config, rows)
    if TRANSFORMER in wanted:
        check_choosing(rows)
    definition: dict[str, Any] = {"kind": KIND, "fixed": ["folds", "layers", "probe"], "folds": folds, "probe": probe}
    definition |= {"layers": list(encoder.layers), "rows": {ALL: rows.fingerprint}, "fields": config.recipe()}
    with experiment_folder(root, definition):
        found: list[Probed] = []
        if LINEAR in wanted:
            features = kept_features(
                encoder,
                rows.all,
                root,
                pooling,
                name=str(config.model.backbone),
                max_seconds=config.batches.max_seconds,
                channel=config.data.channel,
                workers=config.training.get("dataloader_num_workers", 0),
            )
            found += linear_sweep(features, encoder.layers, rows, question, size=encoder.size)
        if TRANSFORMER in wanted:
            from .runs import transformer_sweep

            found += transformer_sweep(config, root, encoder, rows, question, pooling, parallel)
        results = _results(config, root, encoder, rows, question, found, pooling, started)
        write_all(results, config, root, folds)
    return results


def _check(config: RunConfig) -> str:
    """Refuses fields by which layers can't be probed -> the pooling."""
    backbone = config.model.backbone
    if backbone is None:
        raise InputError("no encoder: give --backbone, a Hub name or a folder; one from scratch has learnt nothing yet")
    if backbone in PRESETS:
        raise InputError(f"backbone {backbone}: is from scratch, and has no layers to choose from; give an SSL encoder")
    differs = sorted(settings_that_count(config.model.backbone_config).keys() - {"model_type"})
    if differs:
        raise InputError(f"backbone_config.{differs[0]} has no part in a layer sweep: the encoder is taken as it is")
    if config.learning.adaptation:
        raise InputError(
            "adaptation has no part in a layer sweep: the encoder is taken as it is; leave it out (--adaptation []), "
            "and to ask an encoder that was adapted, give its folder as --backbone"
        )
    pooling = config.model.pooling or "mean+std"
    lookup(STATISTICS, pooling, "pooling of layers")
    return pooling


def _encoder(config: RunConfig, layers: str) -> LayeredEncoder:
    encoder = load_layers(str(config.model.backbone), layers, class_token=False)  # of these poolings none has one
    if config.model.normalize is not None:
        encoder.extractor.do_normalize = config.model.normalize
    return encoder


def _question(config: RunConfig, rows: SweepRows) -> Question:
    task = task_of(config, rows.rows.names)
    metric = str(config.training.get("metric_for_best_model", PRIMARY_METRIC[task.problem_type])).removeprefix("eval_")
    if metric not in metrics_of(task):
        raise unknown_name(metric, metrics_of(task), "metric_for_best_model")
    classes, weights = 0 if rows.rows.names is None else len(rows.rows.names), config.head.class_weights
    if classes and isinstance(weights, list) and len(weights) != classes:
        raise InputError(f"class_weights has {len(weights)} factors for {classes} labels; give one for each")
    goal = Goal(
        classes,
        lambda labels, predicted: score(task, metric, labels, predicted),
        greater_is_better(metric),
        weights,
    )
    return Question(task, metric, goal, config.training.get("seed", DEFAULT_SEED))


def linear_sweep(
    features: NDArray, layers: Sequence[int], rows: SweepRows, question: Question, *, size: int
) -> list[Probed]:
    """Linear probes of all layers, of the one that each part chooses, and of a learned sum of all.

    Args:
        features: (N, L, P) of all rows; the first `size` numbers of a layer are its means.
        layers: (L,) their numbers.
        rows: what of them is learnt from and tested.
        question: what is asked.
        size: dimensions of a frame.
    """
    goal, speakers = question.goal, rows.speakers
    said = {layer: np.full(len(features), np.nan) for layer in (*layers, CHOSEN, WEIGHTED)}
    scores: dict[int, list[float]] = {layer: [] for layer in layers}
    strengths: dict[int, list[float]] = {layer: [] for layer in layers}
    chosen: list[int] = []
    shares: list[NDArray] = []
    with tqdm(total=len(rows.parts) * len(layers), desc="probes", disable=None, leave=False) as bar:
        for part in rows.parts:
            train, tested = part.places["train"], part.places[part.tested]
            labels = rows.labels[train]
            who = None if speakers is None else [speakers[place] for place in train]
            valid = part.places.get("validation")
            inner = [] if part.chooses else inner_folds(labels, who, goal, question.seed)
            for i, layer in enumerate(layers):
                held_out = None if valid is None else (features[valid, i], rows.labels[valid])
                fitted = fit_probe(features[train, i], labels, goal, held_out, inner)
                said[layer][tested] = fitted.predict(features[tested, i])
                scores[layer].append(fitted.score)
                strengths[layer].append(fitted.strength)
                bar.update()
            best = layers[goal.best([scores[layer][-1] for layer in layers])]
            chosen.append(best)
            said[CHOSEN][tested] = said[best][tested]
            if len(layers) > 1:
                predict, share = fit_weighted_sum(features[train, :, :size], labels, goal, strengths[best][-1])
                said[WEIGHTED][tested] = predict(features[tested, :, :size])
                shares.append(share)
    found = [Probed(LINEAR, layer, said[layer], scores[layer], {"strengths": strengths[layer]}) for layer in layers]
    if len(rows.parts) > 1:
        found.append(Probed(LINEAR, CHOSEN, said[CHOSEN], facts={"layers": chosen}))
    if shares:
        found.append(Probed(LINEAR, WEIGHTED, said[WEIGHTED], facts={"shares": np.stack(shares)}))
    return found


def _results(
    config: RunConfig,
    root: Path,
    encoder: LayeredEncoder,
    rows: SweepRows,
    question: Question,
    found: Sequence[Probed],
    pooling: str,
    started: float,
) -> Results:
    """All numbers, and what they are of."""
    task, tested = question.task, np.concatenate([part.places[part.tested] for part in rows.parts])
    split = rows.parts[0].tested
    metrics: list[dict[str, Any]] = []
    guessing: dict[str, dict[str, float]] = {}
    for items in items_of(rows, task, tested):
        guessing[items.level] = guessed(rows, task, items)
        for one in found:
            marks = {"probe": one.probe, "layer": one.layer}
            metrics += measured(config, task, items, one.said, split, marks, question.seed)
    choice = _choice(rows, question, found)
    return Results(
        model={
            "name": root.absolute().name,
            "task": "audio-classification",
            "problem_type": task.problem_type,
            "labels": list(task.labels),
            "backbone": str(public_arguments(config)["backbone"]),
            "parameters": encoder.speech.num_parameters(),
            "layer": choice["layer"],
            "pooling": pooling,
            "head": "linear",
            "loss": task.loss,
            "sample_rate": encoder.rate,
            "architecture": type(encoder.speech).__name__,
        },
        data={**data_facts(config, rows.rows), "split_rule": _split_rule(config, rows)},
        metrics=metrics,
        confusion=None,
        run={
            **run_facts(
                question.seed,
                device=str(encoder.device),
                wall_seconds=round(time.monotonic() - started, 1),
                arguments=public_arguments(config),
                recipe={"probes": list(dict.fromkeys(one.probe for one in found)), "strengths": list(STRENGTHS)},
            ),
            "experiment": {**_experiment(encoder, rows, found), "choice": choice, "guessing": guessing},
        },
    )


def _experiment(encoder: LayeredEncoder, rows: SweepRows, found: Sequence[Probed]) -> dict[str, Any]:
    """What was asked of which layers, and what the probes learned beside their answers."""
    sum_of_layers = next((one.facts["shares"] for one in found if one.layer == WEIGHTED), None)
    return {
        "kind": KIND,
        "folds": rows.rule,
        "parts": [part.name for part in rows.parts],
        "is_tested": rows.parts[0].tested == "test",
        "layers": list(encoder.layers),
        "depth": encoder.depth,
        "shares": None if sum_of_layers is None else sum_of_layers.tolist(),
        "strengths": [one.facts["strengths"] for one in found if "strengths" in one.facts],
        "chosen": next((one.facts["layers"] for one in found if one.layer == CHOSEN), None),
    }


def _split_rule(config: RunConfig, rows: SweepRows) -> dict[str, str]:
    """Split -> what was held out there, in words."""
    rules = {"validation": config.split.validation, "test": rows.rule or config.split.test}
    return {split: rule or "the data set's own" for split, rule in rules.items() if split in rows.parts[0].places}


def _choice(rows: SweepRows, question: Question, found: Sequence[Probed]) -> dict[str, Any]:
    """The best layer, the lowest of equally good ones; by what it was chosen, and how well each one did there."""
    probe = found[-1].probe
    scores = {one.layer: one.scores for one in found if one.probe == probe and one.scores}
    means = {layer: float(np.mean(values)) for layer, values in scores.items()}
    by = "validation rows" if rows.parts[0].chooses else "inner folds of the training rows"
    if np.isnan(list(means.values())).all():
        raise InputError(f"{question.metric} is not defined on the {by} of any layer; choose by another metric")
    best = means[list(means)[question.goal.best(list(means.values()))]]
    tied = [layer for layer, mean in means.items() if np.isclose(mean, best, rtol=1e-9, atol=0)]
    told = {"layer": tied[0], "tied": tied, "probe": probe, "metric": question.metric, "by": by}
    return {**told, "scores": list(means.values()), "of_parts": list(scores.values())}
