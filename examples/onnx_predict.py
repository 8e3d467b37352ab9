"""Labels of 16-bit wav files, with onnxruntime and numpy alone: python onnx_predict.py model.onnx speech.wav ..."""

import json
import sys
import wave

import numpy as np
import onnxruntime

if len(sys.argv) < 3:
    sys.exit(__doc__)
try:
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["hf_speech"])
except Exception as error:  # onnxruntime's have no common class but this
    sys.exit(f"{sys.argv[1]}: is no file of `hf-speech export` ({type(error).__name__}); give its model.onnx")
for path in sys.argv[2:]:
    try:
        with wave.open(path) as file:
            form, content = file.getparams(), file.readframes(file.getnframes())
        if form[1:3] != (2, facts["sampling_rate"]) or form.nframes < facts["min_samples"]:
            raise wave.Error(f"here: {8 * form.sampwidth} bits, {form.framerate} Hz, {form.nframes} samples")
        waveform = (np.frombuffer(content, "<i2").reshape(-1, form.nchannels).mean(1) / 32_768).astype(np.float32)[None]
    except (OSError, EOFError, ValueError, wave.Error) as error:
        sys.exit(f"{path}: give 16-bit wav, {facts['sampling_rate']} Hz, {facts['min_samples']}+ samples ({error})")
    outputs = session.run(None, {"input_values": waveform, "attention_mask": np.ones(waveform.shape, np.int64)})
    for task, (logits,) in zip(facts["tasks"], outputs, strict=False):  # the embedding comes behind the logits
        softmax, sigmoid = np.exp(logits - np.logaddexp.reduce(logits)), 1 / (1 + np.exp(-logits))
        shown = {"regression": logits, "multi_label_classification": sigmoid}.get(task["problem_type"], softmax)
        print(path, *(f"{label} {number:.3f}" for label, number in zip(task["labels"], shown, strict=True)))
