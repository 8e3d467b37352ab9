"""How a model is loaded and asked, in code that runs: a section of the card."""

import json
import shlex

from .words import Facts, code, compares_voices, is_hub_id, is_of_trials, tasks_of


def how_to_load(results: Facts) -> str:
    """The section: by command, with the package, without it, as a pipeline; of speakers, two voices compared."""
    model, tasks = results["model"], tasks_of(results)
    name, rate = model["name"], model["sample_rate"]
    place = "" if is_hub_id(name) else "  # this model's folder"
    asked, answers = _answers(tasks)
    ours, trusted = _is_ours(results), _trusted(results)
    given, first = "the package `hf_speech`" if ours else "transformers", ""
    if len(tasks) > 1:
        first = f" (it answers for {code(tasks[0]['name'])}, the first task)"
    kind = "AutoModelForAudioXVector" if _is_x_vector(results) else "AutoModelForAudioClassification"
    registers = "import hf_speech  # registers the Auto classes\n" if ours else ""
    read = "\n\nIt brings code of its own; read that before you let it run." if trusted and not ours else ""
    return f"""## How to load it

{_on_the_command_line(results)}

In Python, with {given} installed:{read}

```python
import soundfile
import torch
{registers}from transformers import AutoFeatureExtractor, {kind}

name = {json.dumps(name, ensure_ascii=False)}{place}
model = {kind}.from_pretrained(name{trusted if not ours else ""}).eval()
extractor = AutoFeatureExtractor.from_pretrained(name{trusted if not ours else ""})
waveform, rate = soundfile.read("speech.wav", dtype="float32")  # mono, at {rate} Hz
inputs = extractor(waveform, sampling_rate=rate, return_tensors="pt")
with torch.no_grad():
    {asked} = model(**inputs).{asked}
{answers}
```

{_embeddings(results)}{_without_the_package(results)}{_as_a_pipeline(results, first)}"""


def _without_the_package(results: Facts) -> str:
    """How a model of ours is loaded by transformers alone; any other one is anyway."""
    if not _is_ours(results):
        return ""
    return """Without it, leave out `import hf_speech` and let the code that lies beside the weights run:

```python
model = AutoModelForAudioClassification.from_pretrained(name, trust_remote_code=True).eval()
```

"""


def _as_a_pipeline(results: Facts, first: str) -> str:
    if _is_x_vector(results):
        return "transformers has no pipeline for x-vectors."
    either = ", either way" if _is_ours(results) else ""
    return f"""As a pipeline{either}{first}:

```python
from transformers import pipeline

classify = pipeline("audio-classification", model=name{_trusted(results)})
print(classify({{"raw": waveform, "sampling_rate": rate}}))
```{_of_the_pipeline(tasks_of(results)[0])}"""


def _trusted(results: Facts) -> str:
    """The argument that lets code beside the weights run, where there is such code: in ours, or as it was measured."""
    own_code = _is_ours(results) or results["run"]["arguments"].get("trust_remote_code")
    return ", trust_remote_code=True" if own_code else ""


def _is_x_vector(results: Facts) -> bool:
    return not _is_ours(results) and results["model"]["architecture"].endswith("ForXVector")


def _on_the_command_line(results: Facts) -> str:
    """What to type, where the package is installed."""
    name = shlex.quote(" ".join(results["model"]["name"].split()))
    trusted = " --trust-remote-code" if _trusted(results) and not _is_ours(results) else ""
    lines = [f"hf-speech predict {name} speech.wav{trusted}"]
    if _is_ours(results) and compares_voices(results):
        lines.insert(
            0,
            f"hf-speech verify {name} one.wav other.wav  # how alike; whether one speaker, where a calibration is kept",
        )
    return "With the package `hf_speech` installed:\n\n```bash\n" + "\n".join(lines) + "\n```"


def _is_ours(results: Facts) -> bool:
    return results["model"]["architecture"].startswith("HfSpeech")


def _of_the_pipeline(task: Facts) -> str:
    """Where the pipeline, which takes the likeliest class, does not answer as the model was measured."""
    if task.get("head") == "ordinal":
        return (
            "\n\nThe pipeline puts the likeliest class first, the mode of the distribution; the numbers of this card "
            "are of its median, as the code above prints it, which can be another class."
        )
    if task.get("speeds"):
        return (
            f"\n\nThe pipeline lists each speaker at each of {task['speeds']} speeds, as they were trained apart; the "
            "numbers of this card are of the speakers, over all speeds, as the code above prints it."
        )
    return ""


def _answers(tasks: list[Facts]) -> tuple[str, str]:
    """What of the outputs is looked at, and the lines that print it."""
    if len(tasks) == 1:
        return "logits", f"print({_said(tasks[0], 'logits', 'model.config.id2label')}){_unit(tasks[0])}"
    lines = ["labels = {task.name: task.labels for task in model.tasks}"]
    for task in tasks:
        name = json.dumps(task["name"], ensure_ascii=False)
        said = _said(task, f"task_logits[{name}]", f"labels[{name}]")
        lines.append(f"print({json.dumps(task['name'] + ':', ensure_ascii=False)}, {said}){_unit(task)}")
    return "task_logits", "\n".join(lines)


def _unit(task: Facts) -> str:
    """A comment with the unit of what is printed, on its line."""
    unit = " ".join((task["unit"] or "").split())
    return f"  # {unit}" if task["problem_type"] == "regression" and unit else ""


def _said(task: Facts, logits: str, labels: str) -> str:
    """The expression of a task's answer."""
    if task["problem_type"] == "regression":
        return f"{logits}.item()"
    if task["problem_type"] == "multi_label_classification":
        return f"[{labels}[i] for i in ({logits}[0] > 0).nonzero().flatten().tolist()]"
    if task.get("head") == "ordinal":  # the median of the distribution, as it was measured
        return f"{labels}[({logits}.softmax(-1).cumsum(-1)[0, :-1] < 0.5).sum().item()]"
    if task.get("speeds"):  # the probabilities of a speaker at all speeds, as it was measured
        speakers = f"{logits}.softmax(-1).unflatten(-1, ({task['speeds']}, -1)).sum(-2)"
        return f"{labels}[{speakers}.argmax(-1).item()]"
    return f"{labels}[{logits}.argmax(-1).item()]"


def _embeddings(results: Facts) -> str:
    """Two voices compared, where a model of ours was trained to tell speakers apart."""
    if not _is_ours(results) or not compares_voices(results):
        return ""
    threshold = (
        "; `hf-speech verify` finds a threshold on trials"
        if any(is_of_trials(metric["name"]) for metric in results["metrics"])
        else " (how well it tells strangers apart was not measured: find a threshold on trials of your own)"
    )
    return f"""Two voices compared{threshold}:

```python
other, rate = soundfile.read("other.wav", dtype="float32")
vectors = model.embed([waveform, other], sampling_rate=rate)
print(torch.cosine_similarity(vectors[0], vectors[1], dim=0).item())
```

"""
