"""How far padding moves a model's numbers, ours and the stock one's, for every kind of encoder, with equal weights.

Base-size encoders (12 layers of 768) with random weights in float32: three utterances alone, and padded in one batch
with noise in the padding. The figure is the largest |difference| of the mean over frames, and of logits of order 1.
"""

import json
from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, AutoModelForAudioClassification

from hf_speech import from_stock
from hf_speech.files import replacing
from hf_speech.models.configuration import BACKBONES
from hf_speech.results import run_facts

from .limits import hold

OUTPUT = Path(__file__).parent / "results" / "padding.json"
LIMIT = 1e-4  # of a logit, float32, weights of pretrained size
LENGTHS = (32_000, 21_000, 9_000)


@torch.no_grad()
def figures(kind: str) -> dict[str, float | str]:
    torch.manual_seed(0)
    stock = AutoModelForAudioClassification.from_config(CONFIG_MAPPING[kind](num_labels=7)).eval()
    torch.nn.init.normal_(stock.projector.weight, std=0.2)
    torch.nn.init.normal_(stock.classifier.weight, std=0.2)
    ours = from_stock(stock)
    waveforms = torch.randn(len(LENGTHS), max(LENGTHS))
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    noisy = waveforms * mask + 5 * torch.randn_like(waveforms) * (1 - mask)
    row: dict[str, float | str] = {"encoder": kind}
    # The stock model is given zeros in the padding, as its feature extractor makes them.
    for name, model, batch in (("ours", ours, noisy), ("stock", stock, waveforms * mask)):
        padded = model(batch, attention_mask=mask).logits
        alone = torch.cat([model(waveforms[i : i + 1, :n]).logits for i, n in enumerate(LENGTHS)])
        row[name] = (padded - alone).abs().max().item()
        row[f"{name}_logit_size"] = alone.abs().max().item()
        if model is ours:
            single = alone
    row["ours_to_stock_alone"] = (single - alone).abs().max().item()
    return row


def main() -> None:
    rows = [figures(kind) for kind in BACKBONES]
    for row in rows:
        print(f"{row['encoder']:20} ours {row['ours']:.1e}  stock {row['stock']:.1e}")
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps({"rows": rows, "run": run_facts(0)}, indent=2) + "\n", encoding="utf-8")
    hold({str(row["encoder"]): float(row["ours"]) for row in rows}, dict.fromkeys(BACKBONES, LIMIT))


if __name__ == "__main__":
    main()
