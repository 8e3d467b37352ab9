"""Fine-tuning with transformers alone, as its example of audio classification sets it up; prints what it took.

    python -m benchmarks.stock_training CHECKPOINT TABLE.csv --output-dir FOLDER

A random crop of what is above 20 s, batches drawn at random and padded to their longest, the convolutions frozen, the
Trainer's own optimiser. TABLE has the columns path and label. Waveforms are read with soundfile in the transform of the
data set, where the example has the reader of `datasets`, which needs torchcodec.
"""

import argparse
import csv
import json
from pathlib import Path
from random import randint
from typing import Any

import soundfile
from datasets import Dataset
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, Trainer, TrainingArguments, set_seed

LONGEST = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("table", type=Path)
    parser.add_argument("--output-dir", required=True)
    parser.add_argument("--freeze", choices=("cnn", "base"), default="cnn", help="what is not trained (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="rows in a batch (%(default)s)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()
    set_seed(0)
    with given.table.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in table})
    extractor = AutoFeatureExtractor.from_pretrained(given.checkpoint, return_attention_mask=True)

    def crop(path: str) -> Any:
        wave = soundfile.read(path, dtype="float32")[0]
        longest = round(LONGEST * extractor.sampling_rate)
        start = randint(0, len(wave) - longest - 1) if len(wave) > longest else 0
        return wave[start : start + longest]

    def transform(batch: dict[str, Any]) -> dict[str, Any]:
        inputs = extractor([crop(path) for path in batch["path"]], sampling_rate=extractor.sampling_rate)
        return {"input_values": inputs["input_values"], "labels": batch["label"]}

    rows = Dataset.from_dict(
        {"path": [row["path"] for row in table], "label": [labels.index(row["label"]) for row in table]}
    ).with_transform(transform)
    model = AutoModelForAudioClassification.from_pretrained(given.checkpoint, num_labels=len(labels))
    if given.freeze == "cnn":
        model.freeze_feature_encoder()
    else:
        model.freeze_base_model()
        model.freeze_feature_encoder()  # or its input is made to carry gradients through all that is frozen
    arguments = TrainingArguments(
        given.output_dir,
        per_device_train_batch_size=given.batch,
        num_train_epochs=given.epochs,
        learning_rate=given.learning_rate,
        logging_steps=1,
        save_strategy="no",
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=given.device == "cpu",
        bf16=given.bf16,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, processing_class=extractor)
    seconds = trainer.train().metrics["train_runtime"]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(json.dumps({"seconds": seconds, "losses": losses}))


if __name__ == "__main__":
    main()
