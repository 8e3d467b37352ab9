"""The card's sections on how a model was made: recipe, papers, what it costs, and where the numbers come from."""

from collections.abc import Iterator, Mapping

from .markdown import bullets, known, markdown_table
from .sources import sources_of
from .words import Facts, count, in_options, is_trained, percent, recipe_of_model

_NOTHING = {"freeze": "none", "freeze_layers": 0}  # settings that say that something was not done


def recipe_section(results: Facts) -> str:
    """How it was trained, as a section of a page, with the papers that it stands on."""
    run = results["run"]
    facts = {**recipe_of_model(results["model"]), **run["recipe"], "steps": run["steps"], "epochs": run["epochs"]}
    rows = [
        (name.replace("_", " "), in_options(value) if isinstance(value, Mapping) else value)
        for name, value in facts.items()
        if value not in (None, {}, []) and _NOTHING.get(name) != value
    ]
    told = ["## How it was trained"]
    if not run["recipe"] and not is_trained(results):
        told = ["## What it is made of", "How it was trained is not recorded."]
    parts = [*told, markdown_table(("Setting", "Value"), rows), *_layers(results["model"])]
    sources = sources_of(results)
    if sources:
        parts += ["Sources of its parts:", bullets(sources)]
    return "\n\n".join(parts)


def _layers(model: Facts) -> Iterator[str]:
    """Which layers weigh most, where that was learned."""
    shares = model.get("layer_weights")
    if shares:
        order = sorted(range(len(shares)), key=lambda i: -shares[i])[:3]
        told = [f"{f'layer {i}' if i else 'its input'} ({percent(shares[i])})" for i in order]
        yield (
            f"Of the encoder's input and its {count(len(shares) - 1, 'layer')}, learned to be summed, these weigh "
            f"most: {', '.join(told)}. Equal shares would be {percent(1 / len(shares))}."
        )


def costs_section(results: Facts) -> str:
    """Size, speed and energy, each with what it was measured on."""
    model, run = results["model"], results["run"]
    speed = run.get("speed")
    rows = [
        ("parameters", f"{model['parameters']:,}"),
        ("weights", _size(model["bytes"]) if model.get("bytes") else "not recorded"),
        ("one utterance alone", "not measured" if speed is None else _alone(speed)),
        ("many utterances", "not measured" if speed is None else _many(speed)),
    ]
    if speed is not None:
        threads = "" if str(run["device"]).startswith("CPU") else f", {count(speed['threads'], 'thread')}"
        rows.append(("measured on", f"{known(run['device'])}, {speed['dtype']}{threads}"))
    rows.append(("energy of the training", _energy(run.get("energy"), bool(run["recipe"].get("encoder_run_once")))))
    return f"## Speed, size and energy\n\n{markdown_table(('What', 'How much'), rows)}"


def _size(count_of_bytes: int) -> str:
    """Bytes in a unit that a reader can picture.

    >>> _size(128_572), _size(377_500_000), _size(1_260_000_000)
    ('129 kB', '378 MB', '1.26 GB')
    """
    unit, name = next(
        ((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB")) if count_of_bytes >= unit), (1e3, "kB")
    )
    return f"{count_of_bytes / unit:.3g} {name}"


def _alone(speed: Facts) -> str:
    return (
        f"{1000 * speed['latency_seconds']:.3g} ms for {speed['utterance_seconds']:g} s of audio, from samples to "
        f"answer (median of {speed['repetitions']})"
    )


def _many(speed: Facts) -> str:
    pace = speed["audio_seconds_per_second"]
    if pace is None:
        return "not measured: nothing was evaluated, or not by the whole model at once"
    return f"{pace:.3g} s of audio a second (`{speed['split']}`, in batches, files being read)"


_WATCHED = {"machine": "of the whole machine", "process": "of its process alone"}  # codecarbon's modes


def _energy(energy: Facts | None, encoder_run_once: bool) -> str:
    if energy is None:
        return "not measured"
    told = [f"{energy['kwh']:g} kWh", f"{1000 * energy['co2_kg']:g} g CO2eq"]
    place = ", ".join(filter(None, (energy.get("region"), energy.get("country"))))
    of = [
        f"as {energy['source']} estimates it",
        _WATCHED.get(str(energy.get("mode"))),
        f"electricity as of {place}" if place else None,
        energy.get("hardware"),
        "without the encoder's one pass, which went before" if encoder_run_once else None,
    ]
    since = f"; from step {energy['from_step']:,} on" if energy["from_step"] else ""
    return f"{', '.join(told)} ({'; '.join(filter(None, of))}{since})"


def provenance_section(results: Facts) -> str:
    """Seed, versions and device, as a section of a page."""
    run = results["run"]
    rows = [
        ("seed", known(run["seed"])),
        ("commit of hf_speech", known(run["commit"])),
        ("device", known(run["device"])),
        ("wall time, seconds", "not recorded" if run["wall_seconds"] is None else f"{run['wall_seconds']:.0f}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in run["versions"].items())),
    ]
    return (
        f"## Where the numbers come from\n\n{markdown_table(('Fact', 'Value'), rows)}\n\n"
        "This card is made from `results.json` in this folder, which holds the whole configuration too."
    )
