"""Contents of results.json that the tests of cards share."""

from typing import Any

from ..test_results import example


def of_group(metric: dict[str, Any], group: str, value: float, low: float, high: float, n: int) -> dict[str, Any]:
    """A number of a group of the utterances of another number."""
    return {**metric, "split": f"{metric['split']}, {group}", "value": value, "low": low, "high": high, "n": n}


def full() -> dict[str, Any]:
    """The example with all that may be left out: groups, what was compared, learned layers, costs, energy."""
    content = example()
    content["model"] |= {
        "layer": "weighted_sum",
        "bytes": 377_486_848,
        "layer_weights": [0.04] * 10 + [0.12, 0.3, 0.18],
    }
    data, uar = content["data"], content["metrics"][0]
    data["compared"] = ["speaker_id", "session_id", "file"]
    for name, (women, men, other) in {"train": (220, 90, 2), "validation": (20, 20, 0), "test": (21, 12, 4)}.items():
        groups = {"female": women, "male": men, "other": other}
        data["splits"][name]["groups"] = {"gender": {group: n for group, n in groups.items() if n}}
    same = {group: content["model"]["labels"] for group in ("female", "male")}
    data["splits"]["test"]["group_labels"] = {"emotion": {"gender": same}}
    content["metrics"] += [
        of_group(uar, "gender female", 0.84, 0.71, 0.93, 21),
        of_group(content["metrics"][1], "gender female", 0.83, 0.7, 0.92, 21),
        of_group(uar, "gender male", 0.52, 0.4, 0.66, 12),
        of_group(content["metrics"][1], "gender male", 0.5, 0.38, 0.64, 12),
    ]
    content["run"]["speed"] = {
        "audio_seconds_per_second": 61.37,
        "split": "test",
        "latency_seconds": 0.2184,
        "utterance_seconds": 5.0,
        "repetitions": 5,
        "threads": 2,
        "dtype": "float32",
    }
    content["run"]["energy"] = {
        "kwh": 0.01731,
        "co2_kg": 0.006428,
        "country": "Germany",
        "region": "saxony",
        "hardware": "AMD EPYC",
        "mode": "machine",
        "source": "codecarbon 3.3.2",
        "from_step": 0,
    }
    return content


def measured_only(split: str) -> dict[str, Any]:
    """Somebody else's model, which was measured on one split; nothing is known of its training."""
    content = example()
    content["model"] |= {"architecture": "Wav2Vec2ForSequenceClassification", "backbone": "wav2vec2"}
    content["model"] |= dict.fromkeys(("layer", "pooling", "head", "loss"))
    content["data"] |= {"splits": {split: content["data"]["splits"]["test"]}, "split_rule": {}, "overlaps": None}
    content["metrics"] = [metric | {"split": split} for metric in content["metrics"]]
    content["run"] |= {"recipe": {}, "steps": None, "epochs": None, "arguments": {}}
    return content
