#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train, and measure, the bundled two-layer attention-only transformer.

The text is the Python sources of the standard library of the interpreter that
runs this script. Half of every batch is text; the other half is runs of random
tokens repeated with a short period, which makes induction heads form early.

    python train_induction_2l.py                train and write induction-2l/
    python train_induction_2l.py --evaluate     measure the saved weights again
    python train_induction_2l.py --texts DIR    write the texts of the measurement for otimes

Needs torch, tokenizers and safetensors. Initial weights, the order of the data
and the evaluation sets follow from --seed; floating-point sums may still differ
in the last bits between machines, and such differences grow as training goes on.
"""
import argparse
import hashlib
import json
import math
import os
import platform
import sysconfig
import time
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import einsum, nn

BOS = "<|endoftext|>"  # token 0; stands before every file in the token stream
SKIP_DIRS = {"site-packages", "dist-packages", "test", "tests", "idle_test",
             "encodings", "pydoc_data", "__pycache__", "lib-dynload"}
HELD_OUT_EVERY = 20  # files 0, 20, 40, ... of the sorted list are held out
CONFIG = {
    "model_name": "induction-2l",
    "description": "Two-layer attention-only transformer with induction heads, "
                   "trained on the sources of the Python standard library",
    "n_layers": 2, "n_heads": 4, "d_model": 128, "d_head": 32,
    "d_vocab": 1024, "n_ctx": 128, "attn_only": True,
    "normalization_type": "LN", "eps": 1e-5, "attention_dir": "causal",
    "attn_scale": "1/sqrt(d_head)", "positional_embedding_type": "standard",
}


def read_corpus():
    """Return the texts for training, those held out, and the SHA-256 of all."""
    root = Path(sysconfig.get_paths()["stdlib"])
    texts, digest = [], hashlib.sha256()
    for name in sorted(p.relative_to(root).as_posix() for p in root.rglob("*.py")):
        *dirs, base = name.split("/")
        if (SKIP_DIRS.intersection(dirs) or base.startswith("_sysconfigdata")
                or any(d.startswith("config-") for d in dirs)):
            continue
        data = (root / name).read_bytes()
        digest.update(name.encode() + b"\0" + data)
        texts.append(data.decode("utf-8", errors="replace"))
    train = [t for i, t in enumerate(texts) if i % HELD_OUT_EVERY]
    return train, texts[::HELD_OUT_EVERY], digest.hexdigest()


def train_tokenizer(texts, d_vocab):
    """A byte-level BPE of d_vocab tokens; the special token takes number 0."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=d_vocab, special_tokens=[BOS], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tok


def encode(tok, texts):
    """One stream of tokens: for each file the special token, then its text."""
    return torch.tensor([t for text in texts for t in [0] + tok.encode(text).ids])


def random_repeats(n_rows, length, periods, d_vocab, gen):
    """Rows of random tokens, each repeated with a period drawn from periods."""
    base = torch.randint(1, d_vocab, (n_rows, periods[1]), generator=gen)
    period = torch.randint(periods[0], periods[1] + 1, (n_rows, 1), generator=gen)
    return base.gather(1, torch.arange(length) % period)


class LayerNorm(nn.Module):
    def __init__(self, d, eps):
        super().__init__()
        self.w, self.b, self.eps = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d)), eps

    def forward(self, x):
        return F.layer_norm(x, self.w.shape, self.w, self.b, self.eps)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, d, k = c["n_heads"], c["d_model"], c["d_head"]
        for name in "QKV":
            setattr(self, f"W_{name}", nn.Parameter(torch.randn(h, d, k) / math.sqrt(d)))
            setattr(self, f"b_{name}", nn.Parameter(torch.zeros(h, k)))
        self.W_O = nn.Parameter(torch.randn(h, k, d) / math.sqrt(2 * d * c["n_layers"]))
        self.b_O = nn.Parameter(torch.zeros(d))

    def forward(self, x):
        """Return the output [batch, pos, d_model] and the pattern [batch, head, dest, src]."""
        q, k, v = (einsum("bpd,hdk->bhpk", x, getattr(self, "W_" + name))
                   + getattr(self, "b_" + name)[:, None] for name in "QKV")
        scores = einsum("bhik,bhjk->bhij", q * (1 / math.sqrt(q.shape[-1])), k)
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        pattern = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        z = einsum("bhij,bhjk->bhik", pattern, v)
        return einsum("bhik,hkd->bid", z, self.W_O) + self.b_O, pattern


class Transformer(nn.Module):
    """Attention-only transformer; the parameters bear TransformerLens' names."""

    def __init__(self, c):
        super().__init__()
        d, v, n = c["d_model"], c["d_vocab"], c["n_ctx"]
        angle = torch.arange(n)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
        sinusoids = torch.stack([angle.sin(), angle.cos()], -1).reshape(n, d)
        self.embed, self.pos_embed, self.unembed = nn.Module(), nn.Module(), nn.Module()
        self.embed.W_E = nn.Parameter(torch.randn(v, d) * 0.1)
        self.pos_embed.W_pos = nn.Parameter(0.1 * sinusoids)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"ln1": LayerNorm(d, c["eps"]), "attn": Attention(c)})
            for _ in range(c["n_layers"]))
        self.ln_final = LayerNorm(d, c["eps"])
        self.unembed.W_U = nn.Parameter(torch.randn(d, v) * 0.02)
        self.unembed.b_U = nn.Parameter(torch.zeros(v))

    def forward(self, tokens):
        """Return logits [batch, pos, d_vocab] and one attention pattern a layer."""
        x = self.embed.W_E[tokens] + self.pos_embed.W_pos[:tokens.shape[1]]
        patterns = []
        for block in self.blocks:
            out, pattern = block["attn"](block["ln1"](x))
            x = x + out
            patterns.append(pattern)
        return self.ln_final(x) @ self.unembed.W_U + self.unembed.b_U, patterns

    def save(self, path, dtype=torch.float32):
        save_file({k: v.detach().to(dtype).contiguous() for k, v in self.state_dict().items()},
                  path)


def token_losses(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                           reduction="none").view(targets.shape)


@torch.no_grad()
def measure(model, held_stream, c, seed):
    """Losses and head scores; scores are lists [layer][head].

    held_out_text_loss  mean loss on 256 evenly spaced windows of held-out text
    previous_token      mean attention from position i to i-1 on those windows
    induction_n         mean attention from i to i-(n-1), for i = n .. 2n-1, on 64
                        rows of n random tokens written twice
    first_half_loss_n   loss on the tokens 1 .. n-1 of those rows, counted from 0
    second_half_loss_n  loss on the tokens n+1 .. 2n-1 of those rows
    """
    ctx = c["n_ctx"]
    starts = torch.linspace(0, len(held_stream) - ctx - 1, 256).long()
    loss, prev = [], []
    for rows in held_stream[starts[:, None] + torch.arange(ctx + 1)].split(64):
        logits, patterns = model(rows[:, :-1])
        loss.append(token_losses(logits, rows[:, 1:]).mean())
        prev.append(torch.stack([p.diagonal(-1, 2, 3).mean((0, 2)) for p in patterns]))
    out = {"held_out_text_loss": torch.stack(loss).mean().item(),
           "previous_token": torch.stack(prev).mean(0).tolist()}
    gen = torch.Generator().manual_seed(seed + 2)
    for n in (32, ctx // 2):
        rows = random_repeats(64, 2 * n, (n, n), c["d_vocab"], gen)
        logits, patterns = model(rows)
        loss = token_losses(logits[:, :-1], rows[:, 1:])
        out[f"first_half_loss_{n}"] = loss[:, :n - 1].mean().item()
        out[f"second_half_loss_{n}"] = loss[:, n:].mean().item()
        out[f"induction_{n}"] = [p.diagonal(1 - n, 2, 3)[..., 1:].mean((0, 2)).tolist()
                                 for p in patterns]
    return out


def flat(x):
    return [z for y in x for z in flat(y)] if isinstance(x, list) else [x]


def rounded(x):
    return [rounded(y) for y in x] if isinstance(x, list) else round(x, 4)


def train(args):
    c, out = CONFIG, args.out
    (out / "checkpoints" if args.checkpoints else out).mkdir(parents=True, exist_ok=True)
    train_texts, held_texts, digest = read_corpus()
    tok = train_tokenizer(train_texts, c["d_vocab"])
    stream, held_stream = encode(tok, train_texts), encode(tok, held_texts)

    torch.manual_seed(args.seed)
    gen = torch.Generator().manual_seed(args.seed + 1)
    model = Transformer(c)
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1],
               "weight_decay": args.weight_decay},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    opt = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98))
    run = {"python": platform.python_version(), "corpus_sha256": digest,
           "train_files": len(train_texts), "held_out_files": len(held_texts),
           "train_tokens": len(stream), "held_out_tokens": len(held_stream),
           **{k: getattr(args, k) for k in
              ("seed", "steps", "batch", "lr", "warmup", "weight_decay", "periods")}}

    log = open(out / "train.log", "w", buffering=1)

    def say(line):
        print(line, flush=True)
        print(line, file=log)

    for key, value in {**c, **run}.items():
        say(f"# {key}: {value}")
    heads = [f"{layer}.{h}" for layer in range(c["n_layers"]) for h in range(c["n_heads"])]
    say("# text: mean training loss on text since the line before; held: loss on held-out text;")
    say("# rep32: loss on the second half of 32 random tokens written twice;")
    say("# pL.H: previous-token score of head H of layer L; iL.H: its induction score (n = 32)")
    say("  ".join([" step", " seconds", "     lr", " text", " held", "rep32"]
                  + [f"p{h}" for h in heads] + [f"i{h}" for h in heads]))

    half, ctx, began, text = args.batch // 2, c["n_ctx"], time.time(), []
    for step in range(args.steps + 1):
        lr = args.lr * min(1, (step + 1) / args.warmup) * (
            0.5 + 0.5 * math.cos(math.pi * min(1, step / args.steps)))
        if step in args.checkpoints:
            model.save(out / "checkpoints" / f"step-{step:05d}.safetensors", torch.float16)
        if step % args.log_every == 0 or step == args.steps:
            m = measure(model, held_stream, c, args.seed)
            mean = sum(text) / len(text) if text else math.nan
            text = []
            losses = [mean, m["held_out_text_loss"], m["second_half_loss_32"]]
            scores = flat(m["previous_token"]) + flat(m["induction_32"])
            say("  ".join([f"{step:5d}", f"{time.time() - began:8.1f}", f"{lr:.1e}"]
                          + [f"{x:5.3f}" for x in losses] + [f"{x:4.2f}" for x in scores]))
        if step == args.steps:
            break
        starts = torch.randint(0, len(stream) - ctx, (half, 1), generator=gen)
        rows = torch.cat([stream[starts + torch.arange(ctx + 1)],
                          random_repeats(args.batch - half, ctx + 1, args.periods,
                                         c["d_vocab"], gen)])
        loss = token_losses(model(rows[:, :-1])[0], rows[:, 1:])
        for group in opt.param_groups:
            group["lr"] = lr
        opt.zero_grad(set_to_none=True)
        loss.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        text.append(loss[:half].mean().item())

    say(f"# seconds: {time.time() - began:.0f}")
    log.close()
    model.save(out / "model.safetensors")
    tok.save(str(out / "tokenizer.json"))
    for folder in [out, out / "checkpoints"] if args.checkpoints else [out]:
        (folder / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    metrics = {k: rounded(v) for k, v in m.items()}
    (out / "metrics.json").write_text(json.dumps({**metrics, **run}, indent=2) + "\n")
    return metrics


def evaluate(args):
    """Measure the saved weights and compare the figures with metrics.json."""
    c = json.loads((args.out / "config.json").read_text())
    saved = json.loads((args.out / "metrics.json").read_text())
    model = Transformer(c)
    model.load_state_dict(load_file(args.out / "model.safetensors"))
    tok = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    _, held_texts, digest = read_corpus()
    if digest != saved["corpus_sha256"]:
        print("note: this standard library is not the one of the training run "
              f"(Python {saved['python']}); figures on text will differ")
    found = measure(model, encode(tok, held_texts), c, saved["seed"])
    metrics = {k: rounded(v) for k, v in found.items()}
    gap = max(abs(a - b) for k in metrics for a, b in zip(flat(metrics[k]), flat(saved[k])))
    print(f"largest difference from metrics.json: {gap:.4f}")
    return metrics


def write_texts(args):
    """held_out.jsonl and repeated_32.jsonl in a folder: rows of measure(), a line each. Windows of
    text are one token shorter than there, as many as the model takes. train.jsonl and
    held_out_files.jsonl: the texts themselves, a file a line."""
    saved = json.loads((args.out / "metrics.json").read_text())
    tok = Tokenizer.from_file(str(args.out / "tokenizer.json"))
    train_texts, held_texts, digest = read_corpus()
    stream, ctx = encode(tok, held_texts), CONFIG["n_ctx"]
    starts = torch.linspace(0, len(stream) - ctx - 1, 256).long()
    gen = torch.Generator().manual_seed(saved["seed"] + 2)
    rows = {"held_out": stream[starts[:, None] + torch.arange(ctx)],
            "repeated_32": random_repeats(64, 64, (32, 32), CONFIG["d_vocab"], gen)}
    args.texts.mkdir(parents=True, exist_ok=True)
    for name, ids in rows.items():
        (args.texts / f"{name}.jsonl").write_text(
            "".join(json.dumps({"tokens": row}) + "\n" for row in ids.tolist()))
    for name, texts in {"train": train_texts, "held_out_files": held_texts}.items():
        (args.texts / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": BOS + text}) + "\n" for text in texts))
    return {"texts": str(args.texts), "corpus as in training": digest == saved["corpus_sha256"]}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "induction-2l")
    p.add_argument("--evaluate", action="store_true", help="measure the saved weights only")
    p.add_argument("--texts", type=Path, metavar="DIR", help="write texts, do nothing else")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--steps", type=int, default=7000)
    p.add_argument("--batch", type=int, default=48, help="rows a step; half are text")
    p.add_argument("--lr", type=float, default=5e-3)
    p.add_argument("--warmup", type=int, default=100, help="steps of linear warm-up")
    p.add_argument("--weight-decay", type=float, default=0.01)
    p.add_argument("--periods", type=int, nargs=2, default=[4, 40], metavar=("MIN", "MAX"))
    p.add_argument("--log-every", type=int, default=100)
    p.add_argument("--checkpoints", type=int, nargs="*", default=[], metavar="STEP",
                   help="steps before which the weights are kept, in float16")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    work = write_texts if args.texts else evaluate if args.evaluate else train
    for key, value in work(args).items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
