"""`hf-speech evaluate`, `predict` and `card`: what is done with models that are there."""

import argparse
import json
import logging
import math
import shlex
from pathlib import Path
from typing import Any

import yaml

from ..errors import EXIT_OK, InputError
from ..fields import parse_flags, read_yaml
from ..public import without_places
from .parser import Commands, add_command

logger = logging.getLogger(__name__)

_PLACES = ("data_dir", "audio_root", "output_dir")  # fields that say where data lie, and nothing of what they are


def add_evaluate(commands: Commands) -> None:
    """Puts `evaluate` into the parser."""
    evaluate = add_command(commands, "evaluate", _evaluate, "measure a model on labelled data",
                        "hf-speech evaluate my-model my-recordings/test\n"
                        "hf-speech evaluate user/model user/data --split test --target emotion\n"
                        "hf-speech evaluate user/model user/data --target emotion "
                        "--label-map '{ang: anger, hap: happiness, exc: happiness, oth: none}'\n"
                        "hf-speech evaluate user/model user/data --push-results")  # fmt: skip
    evaluate.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub")
    evaluate.add_argument("dataset", metavar="DATASET", help="a folder, a csv, or a name on the Hub")
    evaluate.add_argument("--split", help="split to measure on (test if there is one, else all there is)")
    evaluate.add_argument(
        "--label-map",
        metavar="MAP",
        help="{model's label: the data's name for it}; several with one name are one, by the sum of their "
        "probabilities; none leaves a label out; those that are not named keep their names, or take the data's where "
        "only upper and lower case differ",
    )
    add_source(evaluate)
    evaluate.add_argument(
        "--push-results",
        action="store_true",
        help="offer the numbers to the model's card on the Hub, as a pull request",
    )
    evaluate.add_argument("--output-dir", help="folder for results.json and plots (evaluation-MODEL)")
    evaluate.add_argument("--overwrite", action="store_true", help="replace the results of an earlier evaluation")


def add_predict(commands: Commands) -> None:
    """Puts `predict` into the parser."""
    predict = add_command(commands, "predict", _predict, "labels and scores of audio files",
                       "hf-speech predict my-model speech.wav\n"
                       "hf-speech predict my-model recordings/ --json > predictions.json\n"
                       "hf-speech predict --backend onnx served/ speech.wav         what `hf-speech export` wrote"
                       )  # fmt: skip
    predict.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub; or an ONNX file")
    predict.add_argument("files", metavar="FILE", nargs="+", help="audio files, or folders of them")
    add_source(predict)
    predict.add_argument(
        "--json", action="store_true", help="an array of {file, label, score, scores}, {file, value}, or with tasks"
    )
    predict.add_argument("--channel", default="mean", help="channel of multi-channel files: an index from 0, or mean")
    predict.add_argument("--on-bad-audio", choices=("raise", "skip"), default="raise", help="stop, or leave them out")
    predict.add_argument(
        "--backend", choices=("torch", "onnx"), default="torch", help="what runs the model (%(default)s)"
    )
    predict.add_argument(
        "--device", default="auto", help="auto: a GPU if there is one; cpu, cuda, or with torch cuda:1 ..."
    )
    predict.add_argument(
        "--dtype",
        choices=("auto", "float32", "float16", "bfloat16"),
        default="auto",
        help="precision of torch's products; auto: that of the weights; float16 is for GPUs",
    )


def add_source(command: argparse.ArgumentParser) -> None:
    """Flags that say which of a name's models is meant, and whether to run what it brings."""
    command.add_argument("--revision", metavar="REV", help="branch, tag or commit of the model on the Hub")
    command.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code that a model brings beside its weights: read it first",
    )


def add_card(commands: Commands) -> None:
    """Puts `card` into the parser."""
    card = add_command(commands, "card", _card, "write README.md anew from results.json", "hf-speech card my-model")
    card.add_argument("folder", metavar="DIR", help="a model's folder")
    card.add_argument("--overwrite-card", action="store_true", help="lose what was edited in it")


def _evaluate(options: argparse.Namespace, fields: list[str]) -> int:
    from ..label_map import read_label_map
    from ..training.measure import measure
    from ..training.run import summary

    folder, offer = Path(options.output_dir or f"evaluation-{Path(options.model).name}"), None
    given = parse_flags(fields)
    if options.push_results:
        from ..hub.offers import check_offer, offer_results

        home = given.get("data_dir")
        home = None if home is None else str(home)
        offer = check_offer(options.model, options.dataset, revision=options.revision, data_dir=home)
    results = measure(
        options.model,
        options.dataset,
        folder,
        given,
        split=options.split,
        revision=offer.model_commit if offer else options.revision,  # what is told is of this very commit
        label_map=None if options.label_map is None else read_label_map(options.label_map),
        trust_remote_code=options.trust_remote_code,
        overwrite=options.overwrite,
    )
    print(summary(results, folder))
    if offer is not None:
        words = ["hf-speech", "evaluate", options.model, options.dataset, *_given(options, fields)]
        print(offer_results(offer, results, shlex.join(words)))
    return EXIT_OK


def _given(options: argparse.Namespace, fields: list[str]) -> list[str]:
    """What was given on the command line that decides what is measured, as one would give it again elsewhere.

    No place on this machine is in it.
    """
    said = {"--split": options.split, "--label-map": options.label_map, "--revision": options.revision}
    flags = [word for flag, value in said.items() if value is not None for word in (flag, value)]
    return [*flags, *(["--trust-remote-code"] if options.trust_remote_code else []), *_without_places(fields)]


def _without_places(fields: list[str]) -> list[str]:
    """The words of fields without those that say only where something lies, and without paths in the others."""
    said, is_place = [], False
    for word in fields:
        if word.startswith("--"):
            flag, sign, value = word.partition("=")
            is_place = flag.removeprefix("--").replace("-", "_") in _PLACES
            public = f"{flag}={_public(value)}" if sign else word
        else:
            public = _public(word)
        if not is_place:
            said.append(public)
    return said


def _public(value: str) -> str:
    """The value of a field without paths of this machine; a table or list of YAML without those in it."""
    content = read_yaml(value)
    if isinstance(content, dict | list) and without_places(content) != content:
        return yaml.safe_dump(without_places(content), default_flow_style=True, width=math.inf).strip()
    return str(without_places(value)) if isinstance(content, str) else value


def _predict(options: argparse.Namespace, fields: list[str]) -> int:
    channel = int(options.channel) if options.channel.isdigit() else options.channel
    said, pair = (_by_onnx if options.backend == "onnx" else _by_torch)(options, channel)
    if options.json:
        print(json.dumps([*said, *([pair] if pair else [])], indent=2, ensure_ascii=False))
        return EXIT_OK
    from ..outcome import in_words

    width = max(len(row["file"]) for row in said)
    for row in said:
        print(f"{row['file']:{width}}  {in_words(row)}")
    if pair:
        from ..verification import pairs

        print(pairs.in_words(pairs.PairAnswer(**pair["same_speaker"])))
    return EXIT_OK


def _by_torch(options: argparse.Namespace, channel: int | str) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """What is said of each file, and where a model keeps a calibration, of two."""
    from ..serving.session import is_onnx

    if is_onnx(options.model):
        raise InputError(f"{options.model}: holds an ONNX model; give --backend onnx")
    from ..inference import hear, load_model, predictions
    from ..precision import placed
    from ..verification import pairs
    from ..verification.kept import kept_of

    model, extractor = load_model(options.model, options.revision, trust_remote_code=options.trust_remote_code)
    try:
        kept = kept_of(options.model, options.revision)
    except InputError as error:  # labels need no calibration
        logger.warning("%s", error)
        kept = None
    with placed(model, options.device, options.dtype):
        rows, outcome = hear(model, extractor, options.files, channel=channel, on_bad=options.on_bad_audio)
        said = predictions(model, rows, outcome)
        return said, pairs.pair_of_prediction(model, extractor, rows, outcome.embeddings, kept)


def _by_onnx(options: argparse.Namespace, channel: int | str) -> tuple[list[dict[str, Any]], None]:
    """What is said of each file; an ONNX file keeps no calibration of pairs."""
    from ..serving.predict import predict
    from ..serving.session import load_onnx

    given = {"--revision": options.revision, "--trust-remote-code": options.trust_remote_code}
    given["--dtype"] = options.dtype != "auto"
    for flag, value in given.items():
        if value:
            raise InputError(f"{flag} belongs to --backend torch; an ONNX file is as it was exported: leave it out")
    classifier = load_onnx(options.model, device=options.device)
    return predict(classifier, options.files, channel=channel, on_bad=options.on_bad_audio), None


def _card(options: argparse.Namespace, fields: list[str]) -> int:
    from ..hub.card import write_card
    from ..hub.recipe_card import is_recipe, write_recipe_card
    from ..training.folder import experiment_in

    folder = Path(options.folder)
    kind = experiment_in(folder)
    if kind is not None:
        raise InputError(f"{folder}: holds a {kind}, which writes its page itself; give the folder of a run in it")
    if is_recipe(folder):
        print(write_recipe_card(folder))
    else:
        print(write_card(folder, overwrite=options.overwrite_card))
    return EXIT_OK
