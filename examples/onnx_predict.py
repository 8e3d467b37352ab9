"""Labels of 16-bit wav files by a file of `hf-speech export`; onnxruntime and numpy are all that it needs.

python onnx_predict.py served/model.onnx speech.wav ...
"""

import json
import sys
import wave

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["hf_speech"])
for path in sys.argv[2:]:
    with wave.open(path) as file:
        if (file.getsampwidth(), file.getframerate()) != (2, facts["sampling_rate"]):
            sys.exit(f"{path}: give a wav file of 16 bits and {facts['sampling_rate']} Hz")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    waveform = (samples.mean(1) / 32_768).astype(np.float32)[None]
    if waveform.shape[1] < facts["min_samples"]:
        sys.exit(f"{path}: is shorter than {facts['min_samples']} samples")
    outputs = session.run(None, {"input_values": waveform, "attention_mask": np.ones(waveform.shape, np.int64)})
    for task, (logits,) in zip(facts["tasks"], outputs, strict=False):  # the embedding comes behind the logits
        several = task["problem_type"] == "multi_label_classification"
        scores = 1 / (1 + np.exp(-logits)) if several else np.exp(logits - np.logaddexp.reduce(logits))
        shown = logits if task["problem_type"] == "regression" else scores
        print(path, *(f"{label} {number:.3f}" for label, number in zip(task["labels"], shown, strict=True)))
