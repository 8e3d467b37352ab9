"""Runs the notebooks and keeps what they print and draw: `python docs/run_notebooks.py`, after a change to one.

What goes to stderr (progress, warnings of libraries) is not kept, and pictures are kept in 64 colours, so that the
files stay small.
"""

import base64
import io
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent / "notebooks"
STEPS = re.compile(r"^steps = \d+", re.MULTILINE)


def run(path: Path, folder: Path, steps: int | None = None) -> NotebookNode:
    """A notebook with what its cells gave, run by this interpreter.

    Args:
        path: of the notebook.
        folder: where it runs, and writes.
        steps: of its training, in place of its own.
    """
    notebook = nbformat.read(path, as_version=4)
    if steps is not None:
        for cell in notebook.cells:
            cell.source = STEPS.sub(f"steps = {steps}", cell.source)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.kernelspec = kernel
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def kept(notebook: NotebookNode) -> NotebookNode:
    """The notebook without stderr, times and large pictures."""
    from PIL import Image

    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            output.get("metadata", {}).clear()
            data = output.get("data", {})
            if "image/png" in data:
                packed = io.BytesIO()
                picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
                picture.thumbnail((900, 900))
                picture.quantize(64).save(packed, "PNG", optimize=True)
                data["image/png"] = base64.b64encode(packed.getvalue()).decode()
                data.pop("text/plain", None)
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    return notebook


def main(names: list[str]) -> None:
    """Runs the notebooks of these names, or all, and writes them."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(kept(run(path, Path(folder))), path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
