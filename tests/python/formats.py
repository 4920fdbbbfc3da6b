# SPDX-License-Identifier: MIT
"""Golden models in every form that a checkpoint can have, and the README's table of which row of the
architecture table was seen in which.

usage: python tests/python/formats.py --write      rewrites the table in README.md
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchfile import Raw, read_raw, save_legacy, save_zip

SOURCE = Path(os.environ.get("OTIMES_SOURCE", Path(__file__).parents[2])).resolve()
PROGRAM = os.environ.get("OTIMES", str(SOURCE / "build" / "otimes"))
GOLDEN, GGUF = SOURCE / "tests" / "golden", SOURCE / "tests" / "data" / "gguf"

FAMILIES = {  # what people call the models of a row
    "bloom": "BLOOM, BLOOMZ",
    "cohere": "Command R, Aya",
    "falcon": "Falcon 7B, 40B, 180B, RW",
    "gemma": "Gemma 1",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3, text alone",
    "gpt2": "GPT-2, DistilGPT2",
    "gpt_bigcode": "StarCoder, SantaCoder",
    "gpt_neo": "GPT-Neo, TinyStories",
    "gpt_neox": "Pythia, GPT-NeoX",
    "gpt_oss": "gpt-oss",
    "gptj": "GPT-J",
    "granite": "Granite 3",
    "llama": "Llama 1-3.x, Yi, SmolLM, TinyLlama",
    "llama2.c": "Meta's own Llama files, llama2.c",
    "mingpt": "minGPT",
    "mistral": "Mistral 7B",
    "mixtral": "Mixtral",
    "mpt": "MPT",
    "nanogpt": "nanoGPT",
    "olmo": "OLMo 1",
    "olmo2": "OLMo 2",
    "opt": "OPT",
    "phi": "Phi-1, 1.5, 2",
    "phi3": "Phi-3, Phi-4",
    "progress_measures": "Nanda et al. 2023, grokking",
    "qwen2": "Qwen 2, 2.5",
    "qwen2_moe": "Qwen 1.5 and 2 MoE",
    "qwen3": "Qwen 3",
    "qwen3_moe": "Qwen 3 MoE",
    "smollm3": "SmolLM3",
    "stablelm": "StableLM",
    "starcoder2": "StarCoder2",
    "transformer_lens": "TransformerLens state dicts",
}


def models() -> list[str]:
    """The goldens that the program opens, as the unit tests list them."""
    text = (SOURCE / "tests" / "support.c").read_text(encoding="utf-8")
    inside = text[text.index("golden_names[] = {") : text.index("NULL};")]
    return [word for word in inside.split('"') if word.strip(" ,\n{") and "=" not in word]


def raw_tensors(name: str) -> dict[str, Raw]:
    """All tensors of a golden's own files."""
    out: dict[str, Raw] = {}
    for path in sorted((GOLDEN / name).glob("model*.safetensors")):
        out |= read_raw(path)
    return out


def canonical(path: Path, *options: str) -> dict[str, Raw]:
    """What `otimes convert` makes of a model."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.safetensors"
        line = [PROGRAM, "convert", str(path), "-q", "-o", str(out), *options]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(line)}: {done.stderr}"
        return read_raw(out)


def facts(path: Path) -> dict[str, str]:
    """The attributes of `otimes info`."""
    line = [PROGRAM, "info", str(path), "--format", "tsv"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    pairs = (s[2:].split(": ", 1) for s in done.stdout.splitlines() if s.startswith("# "))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


# ----------------------------------------------------------------------------- the forms


def write_zip(name: str, folder: Path) -> Path:
    """pytorch_model.bin as torch writes it now."""
    shutil.copy(GOLDEN / name / "config.json", folder)
    save_zip(raw_tensors(name), folder / "pytorch_model.bin")
    return folder


def write_legacy(name: str, folder: Path) -> Path:
    """pytorch_model.bin as torch wrote it before 1.6."""
    shutil.copy(GOLDEN / name / "config.json", folder)
    save_legacy(raw_tensors(name), folder / "pytorch_model.bin")
    return folder


def write_shards(name: str, folder: Path) -> Path:
    """pytorch_model-0000x-of-00002.bin and their index."""
    shutil.copy(GOLDEN / name / "config.json", folder)
    tensors = raw_tensors(name)
    names = sorted(tensors)
    place = {k: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, k in enumerate(names)}
    for file in sorted(set(place.values())):
        save_zip({k: tensors[k] for k in names if place[k] == file}, folder / file)
    index = {"metadata": {}, "weight_map": place}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def write_nested(name: str, folder: Path) -> Path:
    """A training checkpoint with the weights among other things, under a name of its own."""
    shutil.copy(GOLDEN / name / "config.json", folder)
    tensors = raw_tensors(name)
    moment = Raw("F32", (3,), b"\0" * 12)
    value: dict[str, Any] = {
        "model": tensors,
        "optimizer": {"state": {0: {"step": moment}}, "param_groups": [{"lr": 1e-3}]},
        "iter_num": 5,
    }
    save_zip(value, folder / "ckpt.pt")
    return folder / "ckpt.pt"


def write_safetensors(name: str, folder: Path) -> Path:
    """As it is."""
    return GOLDEN / name


def write_gguf(name: str, folder: Path) -> Path | None:
    """As llama.cpp's conversion lays it out."""
    path = GGUF / name / "model.gguf"
    return path if path.is_file() else None


LLAMA2C = (
    "attention_norm",
    "attention.wq",
    "attention.wk",
    "attention.wv",
    "attention.wo",
    "ffn_norm",
    "feed_forward.w1",
    "feed_forward.w2",
    "feed_forward.w3",
)


def write_llama2c(name: str, folder: Path) -> Path | None:
    """llama2.c's flat file, version 0; its epsilon is always 1e-5 and its base 10000, which raw weights
    do not depend on."""
    config = json.loads((GOLDEN / name / "config.json").read_text())
    if config.get("model_type") != "llama2.c":
        return None
    tensors = raw_tensors(name)
    layers, shared = config["n_layers"], "output.weight" not in tensors
    vocab = config["vocab_size"] if shared else -config["vocab_size"]
    sizes = (config["dim"], config["hidden_dim"], layers, config["n_heads"], config["n_kv_heads"])
    data = struct.pack("<7i", *sizes, vocab, config["max_seq_len"])
    data += tensors["tok_embeddings.weight"].data
    for part in LLAMA2C:
        data += b"".join(tensors[f"layers.{i}.{part}.weight"].data for i in range(layers))
    data += tensors["norm.weight"].data
    data += b"\0" * (4 * config["max_seq_len"] * (config["dim"] // config["n_heads"]))
    data += b"" if shared else tensors["output.weight"].data
    path = folder / "model.bin"
    path.write_bytes(data)
    return path


FORMS: dict[str, Callable[[str, Path], Path | None]] = {
    "safetensors": write_safetensors,
    "PyTorch": write_zip,
    "PyTorch, before 1.6": write_legacy,
    "PyTorch, shards": write_shards,
    "PyTorch, nested": write_nested,
    "GGUF": write_gguf,
    "llama2.c .bin": write_llama2c,
}


def check(name: str, form: str, folder: Path) -> bool:
    """Whether a golden has this form; that it is the same model then is asserted."""
    path = FORMS[form](name, folder)
    if path is None:
        return False
    own, theirs = canonical(GOLDEN / name, "--raw"), canonical(path, "--raw")
    assert set(own) == set(theirs), f"{name} as {form}: {set(own) ^ set(theirs)}"
    for key, tensor in own.items():
        assert tensor.shape == theirs[key].shape, f"{name} as {form}: {key}"
        if form != "GGUF":  # whose multipliers are rounded elsewhere: test_formats.c
            assert tensor.data == theirs[key].data, f"{name} as {form}: {key}"
    return True


# ----------------------------------------------------------------------------- the table

BEGIN, END = "<!-- formats: begin -->", "<!-- formats: end -->"


def notes(name: str) -> str:
    """What of the processing applies, and what the weights are not."""
    about = facts(GOLDEN / name)
    words = []
    if about["norm"] == "none":
        words.append("no norm")
    elif about["fold_ln"] == "applied":
        words.append("LN folded and centred" if about["norm"] == "LayerNorm" else "RMSNorm folded")
    if about["residual_write"].startswith("not"):
        words.append("post-norms stay")
    if about["attention_score"].startswith("not bilinear: queries and keys are"):
        words.append("q/k norms stay")
    if about["attention_score"] == "bilinear before a soft cap":
        words.append("soft caps")
    if about["embedding_write"].startswith("not"):
        words.append("a norm after W_E stays")
    return ", ".join(words)


def table(seen: dict[str, set[str]]) -> str:
    """One line a row of the architecture table, from what was seen to open and agree."""
    lines = [
        "| row | models | safetensors | PyTorch | GGUF | llama2.c | processing |",
        "|---|---|---|---|---|---|---|",
    ]
    torch = {form for form in FORMS if form.startswith("PyTorch")}
    for row in sorted(seen):
        found = seen[row]
        marks = (
            "safetensors" in found,
            torch <= found,
            "GGUF" in found,
            "llama2.c .bin" in found,
        )
        cells = " | ".join("yes" if mark else "" for mark in marks)
        lines.append(f"| `{row}` | {FAMILIES[row]} | {cells} | {notes(row)} |")
    return "\n".join(lines)


def survey() -> dict[str, set[str]]:
    """For each row the forms in which at least one golden of it was opened and agreed."""
    seen: dict[str, set[str]] = {}
    for name in models():
        row = facts(GOLDEN / name)["architecture"]
        for form in FORMS:
            with tempfile.TemporaryDirectory() as folder:
                if check(name, form, Path(folder)):
                    seen.setdefault(row, set()).add(form)
    return seen


def in_readme() -> str:
    """The table as README.md has it."""
    text = (SOURCE / "README.md").read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def main() -> None:
    path = SOURCE / "README.md"
    text = path.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    made = table(survey())
    if sys.argv[1:] == ["--write"]:
        path.write_text(f"{before}{BEGIN}\n{made}\n{after}", encoding="utf-8")
    else:
        print(made)


if __name__ == "__main__":
    main()
