"""How a model is loaded and asked, in code that runs: a section of the card."""

from .words import Facts, compares_voices, is_hub_id, tasks_of


def how_to_load(results: Facts) -> str:
    """The section: by command, with the package, without it, as a pipeline; of speakers, two voices compared."""
    model, tasks = results["model"], tasks_of(results)
    name, rate = model["name"], model["sample_rate"]
    place = "" if is_hub_id(name) else "  # this model's folder"
    asked, answers = _answers(tasks)
    first = f" (it answers for `{tasks[0]['name']}`, the first task)" if len(tasks) > 1 else ""
    return f"""## How to load it

{_on_the_command_line(results)}

In Python, with the package `hf_speech` installed:

```python
import soundfile
import torch
import hf_speech  # registers the Auto classes
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

name = "{name}"{place}
model = AutoModelForAudioClassification.from_pretrained(name).eval()
extractor = AutoFeatureExtractor.from_pretrained(name)
waveform, rate = soundfile.read("speech.wav", dtype="float32")  # mono, at {rate} Hz
inputs = extractor(waveform, sampling_rate=rate, return_tensors="pt")
with torch.no_grad():
    {asked} = model(**inputs).{asked}
{answers}
```

{_embeddings(results)}Without it, leave out `import hf_speech` and let the code that lies beside the weights run:

```python
model = AutoModelForAudioClassification.from_pretrained(name, trust_remote_code=True).eval()
```

As a pipeline, either way{first}:

```python
from transformers import pipeline

classify = pipeline("audio-classification", model=name, trust_remote_code=True)
print(classify({{"raw": waveform, "sampling_rate": rate}}))
```{_of_the_pipeline(tasks[0])}"""


def _on_the_command_line(results: Facts) -> str:
    """What to type, where the package is installed."""
    name = results["model"]["name"]
    lines = [f"hf-speech predict {name} speech.wav"]
    if _is_ours(results) and compares_voices(results):
        lines.insert(0, f"hf-speech verify {name} one.wav other.wav  # the same speaker?")
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
        comment = f"  # {tasks[0]['unit']}" if tasks[0]["problem_type"] == "regression" and tasks[0]["unit"] else ""
        return "logits", f"print({_said(tasks[0], 'logits', 'model.config.id2label')}){comment}"
    lines = ["labels = {task.name: task.labels for task in model.tasks}"]
    for task in tasks:
        said = _said(task, f'task_logits["{task["name"]}"]', f'labels["{task["name"]}"]')
        comment = f"  # {task['unit']}" if task["problem_type"] == "regression" and task["unit"] else ""
        lines.append(f'print("{task["name"]}:", {said}){comment}')
    return "task_logits", "\n".join(lines)


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
    return """Two voices compared, known ones or not; the nearer to 1, the likelier it is the same speaker:

```python
other, rate = soundfile.read("other.wav", dtype="float32")
vectors = model.embed([waveform, other], sampling_rate=rate)
print(torch.cosine_similarity(vectors[0], vectors[1], dim=0).item())
```

"""
