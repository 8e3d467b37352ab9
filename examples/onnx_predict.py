"""Labels of 16-bit wav files, with onnxruntime and numpy alone: python onnx_predict.py model.onnx speech.wav ..."""

import json
import sys
import wave

import numpy as np
import onnxruntime

model, *paths = sys.argv[1:] if len(sys.argv) > 2 else sys.exit(__doc__)
try:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["hf_speech"])
except Exception as error:  # onnxruntime's have no common class but this
    sys.exit(f"{model}: is no file of `hf-speech export` ({type(error).__name__}); give its model.onnx")
for path in paths:
    try:
        with wave.open(path) as file:
            (channels, width, rate, frames, *_), content = file.getparams(), file.readframes(file.getnframes())
        there, least = len(content) // width // channels, max(frames, facts["min_samples"])
        if (width, rate) != (2, facts["sampling_rate"]) or there < least:
            raise wave.Error(f"{8 * width} bits, {rate} Hz, {there} of {frames} samples")
    except (OSError, EOFError, wave.Error) as error:
        sys.exit(f"{path}: give 16-bit wav, {facts['sampling_rate']} Hz, {facts['min_samples']}+ samples ({error})")
    values = (np.frombuffer(content, "<i2").reshape(-1, channels).mean(1) / 32_768).astype(np.float32)[None]
    outputs = session.run(None, {"input_values": values, "attention_mask": np.ones(values.shape, np.int64)})
    for task, (logits,) in zip(facts["tasks"], outputs, strict=False):  # the embedding comes behind the logits
        softmax, sigmoid = np.exp(logits - np.logaddexp.reduce(logits)), 1 / (1 + np.exp(-logits))
        shown = {"regression": logits, "multi_label_classification": sigmoid}.get(task["problem_type"], softmax)
        print(path, *(f"{label} {number:.3f}" for label, number in zip(task["labels"], shown, strict=True)))
