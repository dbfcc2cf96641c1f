"""Writes docs/errors.md, the list of all error codes, from the code that raises them.

Run ``python tools/error_codes.py`` from anywhere; a test fails where the page is not current.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"

_CODE = re.compile(r"[a-z0-9]+/(?:[a-z0-9-]|<[a-z._]+>)+")
# What a code with a part that is computed can be.
_COMPUTED = {
    "<framework>": ("tensorflow", "torch", "onnx"),
    "<child.framework>": ("tensorflow", "torch", "onnx"),
    "<self.framework>": ("tensorflow", "torch", "onnx"),
    "<kind>": ("directory", "pipe", "socket", "device"),
}
_GET_AGAIN = "Get the file again, or have its framework write it again."
_OWN_TABLE = "Mend the table; `porter table --check FILE` lists everything that is wrong with it at once."

# Prefix to what its codes are about, and what to do unless the message itself says it.
SECTIONS = {
    "agree": (
        "`porter agree` and `porter.agree`.",
        "PORTED has to be a port of SOURCE; else the message says what is in the way.",
    ),
    "bundle": ("TensorFlow's checkpoint format (V2, `.index` and `.data-*` files).", _GET_AGAIN),
    "capture": ("`porter.capture`.", "Give `capture` a model and stages as its documentation shows."),
    "check": ("`parity-check` and `porter.check`.", "Leave out or add what the message names."),
    "checkpoint": (
        "Which container a path leads to.",
        "Name a checkpoint, SavedModel, graph or Keras file.",
    ),
    "classify": ("`porter classify`.", "Port a classification network, and check the images."),
    "data": (
        "Data sets of images (`--data`).",
        "Name a folder of images, an image, Parquet, a `.tar` or a list of files.",
    ),
    "flatbuffer": ("The bytes of a TFLite file.", _GET_AGAIN),
    "fold": ("`--fold-bn`.", "Port without `--fold-bn`."),
    "garden": (
        "The Model Garden's `params.yaml`.",
        "Move the file away to have the weights read without it.",
    ),
    "golden": ("Goldens, recorded and read.", "Record the golden again with `porter golden record`."),
    "graph": ("The object graph inside a checkpoint.", _GET_AGAIN),
    "graphdef": ("SavedModels' and frozen graphs.", _GET_AGAIN),
    "hdf5": ("HDF5, the format of Keras's `.h5` and of the weights in `.keras`.", _GET_AGAIN),
    "keras": ("Keras's own files.", "Save the model again with Keras, weights and config together."),
    "labels": ("Names of classes (`--labels`).", "Give a text file with one name a line."),
    "layout": ("Layouts in a mapping table (`h w i o -> o i h w`).", _OWN_TABLE),
    "load": ("Ported files, when they are loaded.", "Port the weights again with `port-weights`."),
    "match": ("`porter match`.", "Correct the name or the option that the message quotes."),
    "measurements": ("The measured figures of a support table.", "Install port-weights again."),
    "network": (
        "Building a network in PyTorch.",
        "Correct what describes the network.",
    ),
    "onnx": (
        "`porter export-onnx` and `--against onnx`.",
        "Export for one size: `--size`.",
    ),
    "output": ("Writing.", "Choose another name or another form of output."),
    "picture": ("Images.", "Give another image."),
    "plan": (
        "Which network a checkpoint holds, and where every variable goes.",
        "`porter inspect SOURCE` shows what it holds; name the network with `--variant`.",
    ),
    "recording": ("Recordings of activations.", "Record again."),
    "runner": (
        "TensorFlow, PyTorch or ONNX in a process of its own.",
        "The message ends with what the process said.",
    ),
    "shape": ("Shapes in a file.", _GET_AGAIN),
    "slice": ("Tensors that are stored in slices.", _GET_AGAIN),
    "snappy": ("Compressed blocks of a checkpoint.", _GET_AGAIN),
    "source": ("The source files while they are read.", "Run again when nobody writes to them."),
    "state": ("The file `checkpoint` of a training directory.", "Name the checkpoint itself."),
    "table": (
        "Mapping tables; and the blocks of an `.index` file, which TensorFlow calls a table, too.",
        "A TOML file: see `porter table --check FILE`. A checkpoint: get it again.",
    ),
    "target": ("Other libraries (`--target`).", "Port for timm, or with `--backbone-only`."),
    "tfjs": ("TensorFlow.js models.", _GET_AGAIN),
    "tflite": ("TensorFlow Lite models.", "Port the model that it was converted from, if there is one."),
    "v1": ("TensorFlow 1's first checkpoint format.", _GET_AGAIN),
    "wire": ("Protocol buffers.", _GET_AGAIN),
    "zip": ("Zip archives (`.keras`, Teachable Machine).", _GET_AGAIN),
}
# Where neither stands beside the code.
_ELSEWHERE = {
    f"runner/no-{framework}": ("... is not installed", f"pip install 'port-weights[{extra}]'")
    for framework, extra in (("tensorflow", "tensorflow"), ("torch", "torch"), ("onnx", "torch,onnx"))
} | {
    "network/missing": ("... is missing", ""),
    "onnx/not-installed": ("... is not installed", ""),
    "picture/no-pillow": ("pillow is not installed", ""),
    "plan/unplaced-averages": ("moving averages belong to no variable", ""),
}
# Looks like a code, and is a name that a graph without names is given.
_NOT_CODES = {"unnamed"}

_BEGINNING = """\
# Error codes

Every refusal ends with its code in brackets, `Error: ... [plan/no-match]`, and `PorterError.code` holds it.
Codes are stable: a script may match on them, and a release that changes one says so in the changelog. The
sentences may change; an ellipsis is what differs from case to case. In Python the classes of `porter.errors`
group them; on the command line the [exit code](commands.md#exit-codes) is 1.

This page is written from the code by `tools/error_codes.py`."""


@dataclass
class Code:
    """An error code.

    Attributes:
        sentences: What its messages say, each once; what differs from case to case is an ellipsis.
        hints: What its messages say to do.
    """

    sentences: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


def codes() -> dict[str, Code]:
    """Return every code that a module of the package raises."""
    found: dict[str, Code] = {}
    for path in sorted((ROOT / "porter").rglob("*.py")):
        for code, sentence, hint in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            for whole in _expanded(code):
                if whole.partition("/")[0] in _NOT_CODES:
                    continue
                entry = found.setdefault(whole, Code())
                for texts, text in ((entry.sentences, sentence), (entry.hints, hint)):
                    if text and text not in texts:
                        texts.append(text)
    return dict(sorted(found.items()))


def page() -> str:
    """Return the text of docs/errors.md."""
    found = codes()
    lines = [_BEGINNING]
    for prefix in sorted({code.partition("/")[0] for code in found}):
        about, advice = SECTIONS[prefix]
        lines += [f"\n## {prefix}\n", f"{about}\n", "| code | what it says | what to do |", "|---|---|---|"]
        for code, entry in found.items():
            if code.startswith(f"{prefix}/"):
                sentence, hint = _ELSEWHERE.get(code, ("", ""))
                said = "; ".join(entry.sentences[:3]) or sentence or "..."
                todo = " ".join(entry.hints[:2]) or hint or advice
                lines.append(f"| `{code}` | {_cell(said)} | {_cell(todo)} |")
    return "\n".join(lines) + "\n"


def _raised(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts, hints = node.args, [k.value for k in node.keywords if k.arg == "hint"]
        elif isinstance(node, ast.Tuple):
            parts, hints = node.elts, node.elts[2:3]
        else:
            continue
        for position, part in enumerate(parts[:2]):
            if code := _code(part):
                sentence = _text(parts[position + 1]) if len(parts) > position + 1 else ""
                yield code, sentence, _text(hints[0]) if hints else ""
                break


def _code(node: ast.expr) -> str | None:
    if isinstance(node, ast.JoinedStr):
        text = "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"<{ast.unparse(part.value)}>"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    else:
        return None
    return text if _CODE.fullmatch(text) else None


def _expanded(code: str) -> list[str]:
    for placeholder, values in _COMPUTED.items():
        if placeholder in code:
            return [code.replace(placeholder, value) for value in values]
    return [code]


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.IfExp):
        return _text(node.body)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "..." for p in node.values)
    return ""


def _cell(text: str) -> str:
    clean = re.sub(r"\s+", " ", text).strip().replace("|", "\\|")
    return re.sub(r"(\.\.\.)(?:\s*\1)+", "...", clean).replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
