# SPDX-License-Identifier: MIT
"""Paths through a GPT-2 with frozen patterns and norms, in PyTorch, as one would write it from the
formula: the peer of bench_paths.

``peer_paths.py CHECKPOINT IDS SECONDS [THREADS]``. IDS is a file of token ids, the target is the
largest logit at the last position. Three jobs, each timed, one line of JSON:

- paths: every path of 0, 1, 2, ... heads in turn, one chain of (A x W_V) W_O for each, until SECONDS
  are over; the orders that were finished, their totals and the largest of their paths;
- orders: the same totals with a stream for each order, all layers;
- edges: head -> head by values, from one backward pass with an input of its own for every head.

Weights as in the checkpoint, but W_U centred, as the library opens it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Iterator

import torch
from transformers import GPT2LMHeadModel


class Frozen:
    """The operators of one text: norms with their scales, heads with their patterns."""

    def __init__(self, checkpoint: str, ids: list[int]) -> None:
        model = GPT2LMHeadModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
        with torch.no_grad():
            out = model(torch.tensor([ids]), output_hidden_states=True, output_attentions=True)
        blocks = model.transformer.h
        self.layers, self.heads, self.d = len(blocks), model.config.n_head, model.config.n_embd
        self.size = self.d // self.heads
        self.pattern = [a[0] for a in out.attentions]
        position = model.transformer.wpe.weight[: len(ids)]
        token = model.transformer.wte.weight[ids]
        stream = token + position
        self.norm, self.W_V, self.W_O, self.mlp, self.bias = [], [], [], [], []
        for block, pattern in zip(blocks, self.pattern):
            self.norm.append(self.scale_of(block.ln_1, stream))
            W = block.attn.c_attn.weight[:, 2 * self.d :]
            self.W_V.append(W.reshape(self.d, self.heads, self.size).permute(1, 0, 2).contiguous())
            self.W_O.append(block.attn.c_proj.weight.reshape(self.heads, self.size, self.d))
            values = block.ln_1(stream) @ W + block.attn.c_attn.bias[2 * self.d :]
            values = values.reshape(-1, self.heads, self.size).transpose(0, 1)
            z = (pattern @ values).transpose(0, 1).reshape(-1, self.d)
            attended = z @ block.attn.c_proj.weight + block.attn.c_proj.bias
            linear = sum(self.head(len(self.mlp), h, stream) for h in range(self.heads))
            self.bias.append(attended - linear)
            stream = stream + attended
            self.mlp.append(block.mlp(block.ln_2(stream)))
            stream = stream + self.mlp[-1]
        self.sources = [("embed", -1, token), ("pos_embed", -1, position)]
        for layer in range(self.layers):
            if self.bias[layer].abs().max() > 1e-5:
                self.sources.append((f"L{layer} attn bias", layer, self.bias[layer]))
            self.sources.append((f"L{layer} mlp", layer, self.mlp[layer]))
        final = model.transformer.ln_f
        W_U = model.lm_head.weight.T - model.lm_head.weight.mean(0)[:, None]
        logits = final(stream[-1]) @ W_U
        self.target = int(logits.argmax())
        self.value = float(logits[self.target])
        scale = self.scale_of(final, stream)[1][-1]
        p = final.weight * W_U[:, self.target]
        self.direction = (p - p.mean()) / scale
        self.offset = float(final.bias @ W_U[:, self.target])

    @staticmethod
    def scale_of(norm: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        centred = x - x.mean(-1, keepdim=True)
        return norm.weight, (centred.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt()

    def read(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        weight, scale = self.norm[layer]
        return (x - x.mean(-1, keepdim=True)) / scale * weight

    def head(self, layer: int, head: int, x: torch.Tensor) -> torch.Tensor:
        values = self.read(layer, x) @ self.W_V[layer][head]
        return self.pattern[layer][head] @ values @ self.W_O[layer][head]

    def attention(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        values = self.read(layer, x) @ self.W_V[layer]
        return (self.pattern[layer] @ values @ self.W_O[layer]).sum(0)

    def worth(self, x: torch.Tensor) -> float:
        return float(x[-1] @ self.direction)


def chains(f: Frozen, order: int, x: torch.Tensor, above: int) -> Iterator[torch.Tensor]:
    """What a source is after every chain of exactly ``order`` heads above a layer."""
    if order == 0:
        yield x
        return
    for layer in range(above + 1, f.layers - order + 1):
        for head in range(f.heads):
            yield from chains(f, order - 1, f.head(layer, head, x), layer)


def list_paths(f: Frozen, seconds: float) -> dict[str, Any]:
    start = time.perf_counter()
    values: list[float] = [f.offset]
    totals, finished, spent = [], [], []
    for order in range(f.layers + 1):
        total, begun = f.offset if order == 0 else 0.0, len(values)
        for _, layer, rows in f.sources:
            for x in chains(f, order, rows, layer):
                values.append(f.worth(x))
                total += values[-1]
                if time.perf_counter() - start > seconds:
                    return {"paths": len(values), "seconds": time.perf_counter() - start,
                            "totals": totals, "counts": finished, "order_seconds": spent,
                            "largest": sorted(map(abs, values[: sum(finished)]))[-5:][::-1]}
        totals.append(total)
        finished.append(len(values) - (begun if order else 0))
        spent.append(time.perf_counter() - start)
    return {"paths": len(values), "seconds": time.perf_counter() - start, "totals": totals,
            "counts": finished, "order_seconds": spent,
            "largest": sorted(map(abs, values))[-5:][::-1]}


def order_streams(f: Frozen) -> dict[str, Any]:
    start = time.perf_counter()
    streams = [sum(rows for _, layer, rows in f.sources if layer < 0)]
    for layer in range(f.layers):
        written = [f.attention(layer, x) for x in streams]
        streams.append(torch.zeros_like(streams[0]))
        for order, out in enumerate(written):
            streams[order + 1] = streams[order + 1] + out
        streams[0] = streams[0] + sum(rows for _, at, rows in f.sources if at == layer)
    totals = [f.worth(x) for x in streams]
    totals[0] += f.offset
    return {"seconds": time.perf_counter() - start, "totals": totals}


def edges(f: Frozen) -> dict[str, Any]:
    start = time.perf_counter()
    stream = sum(rows for _, layer, rows in f.sources if layer < 0).detach()
    inputs, outputs = [], []
    for layer in range(f.layers):
        own = stream.expand(f.heads, *stream.shape).clone()
        own.requires_grad_() if not own.requires_grad else None
        own.retain_grad()
        inputs.append(own)
        values = f.read(layer, own) @ f.W_V[layer]
        out = f.pattern[layer] @ values @ f.W_O[layer]
        outputs.append(out.detach())
        stream = stream + out.sum(0)
        stream = stream + sum(rows for _, at, rows in f.sources if at == layer)
    (stream[-1] @ f.direction).backward()
    edge = torch.zeros(f.layers, f.heads, f.layers, f.heads)
    for later in range(f.layers):
        for earlier in range(later):
            edge[later, :, earlier] = torch.einsum("htd,gtd->hg", inputs[later].grad,
                                                   outputs[earlier])
    return {"seconds": time.perf_counter() - start, "sum": float(edge.sum()),
            "largest": float(edge.abs().max())}


def main() -> None:
    checkpoint, ids, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else 2)
    with open(ids, encoding="ascii") as file:
        f_ids = [int(word) for word in file.read().split()]
    with torch.no_grad():
        f = Frozen(checkpoint, f_ids)
        streams = order_streams(f)
        listed = list_paths(f, seconds)
    found = edges(f)
    print(json.dumps({"value": f.value, "target": f.target, "paths": listed, "orders": streams,
                      "edges": found}))


if __name__ == "__main__":
    main()
