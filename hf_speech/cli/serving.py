"""`hf-speech export`: models for serving."""

import argparse
from pathlib import Path

from ..errors import EXIT_OK
from .models import add_source
from .parser import Commands, add_command


def add_export(commands: Commands) -> None:
    """Puts `export` into the parser."""
    export = add_command(commands, "export", _export, "a model as a file for serving, held to torch's numbers",
                      "hf-speech export my-model --output-dir served\n"
                      "hf-speech export user/model --quantize int8\n"
                      "hf-speech predict --backend onnx served speech.wav")  # fmt: skip
    export.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub")
    export.add_argument("--format", choices=("onnx",), default="onnx", help="of the file (%(default)s)")
    export.add_argument("--output-dir", help="folder of model.onnx and export.json (onnx-MODEL)")
    export.add_argument("--quantize", choices=("int8",), help="also model.int8.onnx, with 8-bit weights")
    export.add_argument("--half", action="store_true", help="also model.half.onnx, in half precision, for GPUs")
    export.add_argument("--opset", type=int, default=17, help="version of ONNX's operators, 17 to 20 (%(default)s)")
    export.add_argument(
        "--speech", metavar="FILE", nargs="+", help="recordings that the file is held to (speech that is shipped)"
    )
    export.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    add_source(export)


def _export(options: argparse.Namespace, fields: list[str]) -> int:
    from ..data.readers import audio_files
    from ..inference import load_model
    from ..serving.export import ExportOptions, export, told

    speech = tuple(str(path) for given in options.speech or () for path in audio_files(given))
    chosen = ExportOptions(options.opset, options.quantize, options.half, speech, options.overwrite)
    folder = Path(options.output_dir or f"onnx-{Path(options.model).name}")
    model, extractor = load_model(options.model, options.revision, trust_remote_code=options.trust_remote_code)
    print(told(export(model, extractor, options.model, folder, chosen), folder))
    return EXIT_OK
