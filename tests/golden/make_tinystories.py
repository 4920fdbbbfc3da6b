# SPDX-License-Identifier: MIT
"""What Hugging Face transformers makes of ../shared/weights/tinystories656k in float64: a story,
greedily, and the logits behind every thirtieth of its tokens. Writes tests/data/tinystories."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT.parent / "shared" / "weights" / "tinystories656k"
OUT = ROOT / "tests" / "data" / "tinystories"
PROMPT, NEW, EVERY = "Once upon a time", 120, 30


def main() -> None:
    model = LlamaForCausalLM.from_pretrained(str(CHECKPOINT), dtype=torch.float64).eval()
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    prompt = tokenizer.encode(PROMPT).ids
    ids = torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(NEW):
            step = model(ids, use_cache=False).logits[0, -1].argmax()
            ids = torch.cat([ids, step.reshape(1, 1)], dim=1)
        logits = model(ids, use_cache=False).logits[0, ::EVERY]
    story = {
        "prompt": PROMPT,
        "prompt_ids": prompt,
        "ids": ids[0].tolist(),
        "text": tokenizer.decode(ids[0, 1:].tolist()),  # its word for BOS is in no list of specials
        "every": EVERY,
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "story.json").write_text(json.dumps(story) + "\n")
    save_file({"logits": logits.contiguous()}, str(OUT / "logits.safetensors"))


if __name__ == "__main__":
    main()
