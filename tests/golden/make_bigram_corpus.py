# SPDX-License-Identifier: MIT
"""What `otimes bigram --corpus` must say of the bundled model and the text of the script that trained it:
plain NumPy in float64, correlations by SciPy. The text is kept as token ids.

usage: python tests/golden/make_bigram_corpus.py    (numpy, safetensors, scipy, tokenizers)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax
from scipy.stats import pearsonr, spearmanr
from tokenizers import Tokenizer

TREE = Path(__file__).resolve().parents[2]
MODEL = TREE / "notebooks-data" / "induction-2l"
TEXT = TREE / "notebooks-data" / "train_induction_2l.py"
OUT = TREE / "tests" / "data" / "bigram_corpus.safetensors"
EPS = 1e-5


def tables() -> dict[str, np.ndarray]:
    """The direct path of processed weights, of raw ones, and the exact logits of no layers."""
    w = {k: v.astype(np.float64) for k, v in load_file(MODEL / "model.safetensors").items()}
    W_E, W_U, b_U = w["embed.W_E"], w["unembed.W_U"], w["unembed.b_U"]
    folded = w["ln_final.w"][:, None] * W_U
    folded -= folded.mean(0)
    folded -= folded.mean(1, keepdims=True)
    centred = W_E - W_E.mean(1, keepdims=True)
    scale = np.sqrt((centred**2).mean(1, keepdims=True) + EPS)
    exact = (centred / scale * w["ln_final.w"] + w["ln_final.b"]) @ W_U + b_U
    return {"processed": centred @ folded, "raw": W_E @ W_U, "exact": exact}


def measures(table: np.ndarray, n: np.ndarray) -> np.ndarray:
    """[token, (entropy, cross-entropy, rank correlation, log correlation)]; NaN where a token has no
    successor."""
    found = np.full((len(n), 4), np.nan)
    log_q = log_softmax(table, axis=1)
    for s in np.flatnonzero(n.sum(1)):
        p = n[s] / n[s].sum()
        seen = p > 0
        found[s] = [
            -(p[seen] * np.log(p[seen])).sum(),
            -(p * log_q[s]).sum(),
            spearmanr(table[s], n[s]).statistic,
            pearsonr(table[s], np.log1p(n[s])).statistic,
        ]
    return found


def totals(table: np.ndarray, n: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """entropy, cross-entropy, that of unigrams, top agreement, rank correlation, log correlation."""
    weight = n.sum(1) / n.sum()
    mean = np.nansum(weight[:, None] * rows, axis=0)
    unigram = np.bincount(ids, minlength=len(n)) / len(ids)
    with np.errstate(divide="ignore"):
        log_u = np.where(unigram > 0, np.log(unigram), 0)
    best = n[np.arange(len(n)), table.argmax(1)]
    return np.array([mean[0], mean[1], -(n.sum(0) * log_u).sum() / n.sum(),
                     weight[best == n.max(1)].sum(), mean[2], mean[3]])


def main() -> None:
    ids = np.array(Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(TEXT.read_text()).ids)
    tables_of = tables()
    n = np.zeros_like(tables_of["raw"])
    np.add.at(n, (ids[:-1], ids[1:]), 1)
    found = {"ids": ids.astype(np.float64)}
    for name, table in tables_of.items():
        rows = measures(table, n)
        found[f"{name}.rows"] = rows
        found[f"{name}.totals"] = totals(table, n, ids, rows)
        print(name, len(ids), found[f"{name}.totals"])
    save_file(found, OUT)


if __name__ == "__main__":
    main()
