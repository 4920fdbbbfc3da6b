#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeds of the targets that read weights, made of the golden models and small files of tests/data.

usage: seeds.py TARGET FOLDER
A target that is not known here has none.
Small inputs alone are of use: what is larger than LARGEST is left out or cut.
"""
import json
import re
import shutil
import struct
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
LARGEST = 4096
SHARED = TESTS.parents[1] / "shared" / "weights"

GPT2 = {
    "wte.weight": [3, 2], "wpe.weight": [2, 2], "ln_f.weight": [2], "ln_f.bias": [2],
    "h.0.ln_1.weight": [2], "h.0.ln_1.bias": [2], "h.0.attn.c_attn.weight": [2, 6],
    "h.0.attn.c_attn.bias": [6], "h.0.attn.c_proj.weight": [2, 2], "h.0.attn.c_proj.bias": [2],
    "h.0.ln_2.weight": [2], "h.0.ln_2.bias": [2], "h.0.mlp.c_fc.weight": [2, 8],
    "h.0.mlp.c_fc.bias": [8], "h.0.mlp.c_proj.weight": [8, 2], "h.0.mlp.c_proj.bias": [2],
}
GPT2_CONFIG = {"model_type": "gpt2", "n_embd": 2, "n_head": 1, "n_layer": 1, "vocab_size": 3, "n_positions": 2}


def product(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def header(tensors, metadata=None, dtype="F32", size=4):
    """A safetensors header as text."""
    entries, at = {}, 0
    if metadata:
        entries["__metadata__"] = metadata
    for name, shape in tensors.items():
        end = at + size * product(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    return json.dumps(entries, separators=(",", ":")).encode()


def safetensors(text, data):
    return struct.pack("<Q", len(text)) + text + data


def golden_models():
    return sorted(path for path in (TESTS / "golden").iterdir() if (path / "config.json").is_file())


def golden_names():
    """In the order of tests/support.c, in which the target counts."""
    text = (TESTS / "support.c").read_text(encoding="utf-8")
    return re.findall(r'"([^"]+)"', text[text.index("golden_names[] = {") : text.index("NULL}")])


# ---- targets ----


def seeds_safetensors():
    yield "gpt2", header(GPT2)
    yield "self", header(GPT2, {"format": "pt", "otimes_config": json.dumps(GPT2_CONFIG)})
    yield "tied", header({"a": [2, 2]}, {"b": "a"})
    yield "whole", safetensors(header({"w": [2, 3]}), bytes(24))
    yield "empty", header({"w": [0, 7], "s": []})
    yield "blocks", header({"x_blocks": [2, 2, 16], "x_scales": [2, 2]}, dtype="U8", size=1)
    for i, dtype in enumerate(["F16", "BF16", "F64", "F8_E4M3", "I64", "BOOL"]):
        yield dtype, header({"w": [2, 2]}, dtype=dtype, size=[2, 2, 8, 1, 8, 1][i])
    for path in golden_models():
        weights = path / "model.safetensors"
        if weights.is_file():
            data = weights.read_bytes()
            yield path.name, data[8 : 8 + struct.unpack("<Q", data[:8])[0]][:LARGEST]


def seeds_shards():
    rest = {name: shape for name, shape in GPT2.items() if name.startswith("h.")}
    third = safetensors(header(rest), b"\x3c" * sum(4 * product(shape) for shape in rest.values()))
    where = {"wte.weight": "a", "wpe.weight": "a", "ln_f.weight": "b", "ln_f.bias": "b"}
    files = {name: where.get(name, "c") + ".safetensors" for name in GPT2}
    index = {"metadata": {"total_size": 240}, "weight_map": files}
    yield "whole", json.dumps(index).encode() + b"\0" + third
    two = {name: file for name, file in files.items() if file[0] != "c"}
    yield "two", json.dumps({"weight_map": two}).encode()
    for i, name in enumerate(["../a.safetensors", "/fuzz/a.safetensors", "..", ".", "", "./a.safetensors",
                              "a.safetensors/", "config.json", "model.safetensors.index.json"]):
        yield f"path{i}", json.dumps({"weight_map": {"wte.weight": name}}).encode()


def seeds_config():
    for i, name in enumerate(golden_names()):
        config = TESTS / "golden" / name / "config.json"
        text = config.read_bytes() if config.is_file() else b""
        if text:
            text = json.dumps(json.loads(text), separators=(",", ":")).encode()
        yield name, bytes([i]) + text[:LARGEST]
    for path in sorted((TESTS / "data" / "gguf").iterdir()):
        if path.name in golden_names():
            yield f"gguf_{path.name}", bytes([golden_names().index(path.name)]) + json.dumps(
                {"general": {"architecture": path.name}}).encode()


def small(folder, pattern):
    for path in sorted(folder.glob(pattern)):
        data = path.read_bytes()
        if len(data) <= 2 * LARGEST:
            yield path.name, data


def seeds_torch_zip():
    yield from small(TESTS / "data" / "torch", "*.pt")
    yield "state_dict", archive({"data.pkl": state_dict(), "byteorder": b"little", "data/0": b"\x3c" * 64})
    yield "gpt2", archive({"data.pkl": model_pickle(), "data/0": b"\x3c" * 1024})
    yield "zip64", archive({"data.pkl": state_dict(), "data/0": b"\x3c" * 64}, zip64=True)


def seeds_torch_legacy():
    """What follows the first three pickles."""
    keys = b"\x80\x02]X\x01\x00\x00\x000a."
    yield "state_dict", state_dict(legacy=True) + keys + struct.pack("<q", 16) + b"\x3c" * 64
    yield "gpt2", model_pickle(legacy=True) + keys + struct.pack("<q", 256) + b"\x3c" * 1024
    for name, data in small(TESTS / "data" / "torch", "*legacy*.pt"):
        stop = data.find(b"little_endian")
        yield name, data[data.index(b".", data.index(b"type_size", stop)) + 1 :][:LARGEST]


CALLS = {
    "list": b"cbuiltins\nlist\n(](K\x01K\x02etR", "set": b"cbuiltins\nset\n(](K\x01etR",
    "pairs": b"ccollections\nOrderedDict\n(](]X\x01\0\0\0aaK\x01aetR",
    "default": b"ccollections\ndefaultdict\n(cbuiltins\nlist\ntR",
    "bytes": b"c_codecs\nencode\n(X\x03\0\0\0a\xc3\xa9X\x06\0\0\0latin1tR",
    "size": b"ctorch\nSize\n((K\x02K\x03ttR", "device": b"ctorch\ndevice\n(X\x03\0\0\0cputR",
    "set4": b"\x8f(K\x01K\x02\x90", "frozen": b"(K\x01K\x02\x91", "long": b"\x8a\x09\0\0\0\0\0\0\0\0\x01",
    "lines": b"(I01\nI12\nL5L\nF1.5\nS'a'\nVb\np0\ng0\nl",
}


def scalar(code):
    """A number of numpy's, all of its bytes 0x3c."""
    size = int(code[1])
    state = b"(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    dtype = b"cnumpy\ndtype\n(" + text(code) + b"K\0K\x01tR" + state
    return b"cnumpy.core.multiarray\nscalar\n(" + dtype + b"C" + bytes([size]) + b"\x3c" * size + b"tR"


def calls():
    """A value of each kind that a call makes, as pickles of one member."""
    plain = tensor([2, 3], 2, 16, False)
    made = dict(CALLS)
    made.update((code, scalar(code)) for code in ("f2", "f4", "f8", "i1", "i4", "u2", "u8", "b1"))
    made["view"] = plain.replace(b"tQ", b"(X\x01\0\0\0vK\x02K\x08ttQ")
    made["v3"] = plain.replace(b"tensor_v2", b"tensor_v3").replace(b")RtR", b")Rctorch\nfloat32\ntR")
    made["parameter"] = b"ctorch._utils\n_rebuild_parameter\n(" + plain + b"\x89ccollections\nOrderedDict\n)RtR"
    made["typed"] = (b"ctorch._tensor\n_rebuild_from_type_v2\n(" + plain[:-1].replace(b"\n((", b"\nctorch\nTensor\n((", 1) + b"}tR")
    for name, value in made.items():
        yield name, b"\x80\x02}" + text(name) + value + b"s."


def seeds_pickle():
    yield "state_dict", state_dict()
    yield from calls()
    yield "gpt2", model_pickle()
    yield "plain", (TESTS / "data" / "torch" / "plain.pkl").read_bytes()
    for name, data in small(TESTS / "data" / "torch", "*.pt"):
        for number, found in enumerate(re.finditer(rb"\x80[\x00-\x05]", data)):
            stop = data.find(b"PK", found.start())
            yield f"{name}{number}", data[found.start() : stop if stop > 0 else None][:LARGEST]


def seeds_gguf():
    yield "alignment", gguf({"general.architecture": "llama", "general.alignment": 8}, {"a": ([2, 2], 0), "b": ([32], 2)})
    yield "tokens", gguf({"general.architecture": "gpt2", "tokenizer.ggml.model": "gpt2",
                          "tokenizer.ggml.tokens": ["a", "b", "ab"], "tokenizer.ggml.merges": ["a b"]}, {})
    yield "scores", gguf({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "\u2581", "a"],
                          "tokenizer.ggml.scores": [0.0, -1.0, -2.5], "tokenizer.ggml.token_type": [2, 1, 1]}, {})
    for number in (0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 24, 28, 30, 39):
        yield f"type{number}", gguf({"general.name": "x"}, {"w": ([256], number)})
    yield "own", gguf(GPT2_GGUF, {name: (shape, 0) for name, shape in GGUF_NAMES.items()})
    for path in sorted((TESTS / "data" / "gguf").iterdir()):
        yield path.name, (path / "model.gguf").read_bytes()[:LARGEST]


def seeds_llama2c():
    sizes = [4, 6, 1, 2, 1, 3, 2]
    yield "version0", struct.pack("<7i", *sizes)
    yield "own_classifier", struct.pack("<7i", *sizes[:5], -3, 2)
    for shared in (0, 1):
        yield f"version1_{shared}", (struct.pack("<Ii7iB", 0x616B3432, 1, *sizes, shared) + bytes(256))[:256]
    yield "version2", struct.pack("<Ii7iB", 0x616B3432, 2, *sizes, 1)
    stories = SHARED / "stories260K" / "stories260K.bin"
    if stories.is_file():
        yield "stories", stories.read_bytes()[:64]


def seeds_memory():
    records = b""
    for number, shape in enumerate(GPT2.values()):
        strides = [product(shape[i + 1 :]) for i in range(len(shape))]
        records += bytes([number, 0, len(shape) + 1] + [x for pair in zip(shape, strides) for x in pair] + [0])
    config = json.dumps(GPT2_CONFIG).encode()
    yield "gpt2", config + b"\0" + records
    yield "without", b"\0" + records
    yield "transposed", b"\0" + bytes([0, 1, 3, 2, 1, 3, 2, 4])
    yield "blocks", b"\0" + bytes([18, 7, 4, 2, 32, 2, 16, 16, 1, 0, 19, 7, 3, 2, 2, 2, 1, 0])
    yield "own", b"\0" + bytes([35, 2, 2, 4, 1, 0]) + b"abc"


# ---- parts ----


def integer(value):
    return b"J" + struct.pack("<i", value)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(shape, offset, count, legacy):
    strides = [product(shape[i + 1 :]) for i in range(len(shape))]
    storage = (b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + integer(count) +
               (b"NtQ" if legacy else b"tQ"))
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + integer(offset) + numbers(shape) + numbers(strides) +
            b"\x89ccollections\nOrderedDict\n)RtR")


def state_dict(legacy=False):
    config = b"(" + text("n") + b"K\x03" + text("f") + b"G\x3f\xf0\x00\x00\x00\x00\x00\x00" + text("l") + b"](K\x01\x88Neu"
    return (b"\x80\x02}q\x00(" + text("model") + b"}q\x01" + text("w") + tensor([2, 3], 2, 16, legacy) + b"s" +
            text("config") + b"}" + config + b"u.")


def model_pickle(legacy=False):
    """GPT-2 of one layer, all of it the first numbers of one storage."""
    pickle = b"\x80\x02}("
    for name, shape in GPT2.items():
        pickle += text(name) + tensor(shape, 0, 256 if legacy else 16, legacy)
    return pickle + b"u."


def archive(parts, zip64=False):
    body, directory = b"", b""
    for name, data in parts.items():
        name = b"r/" + name.encode()
        long = struct.pack("<HHQQQ", 1, 24, len(data), len(data), len(body)) if zip64 else b""
        sizes = struct.pack("<II", *([0xFFFFFFFF] * 2 if zip64 else [len(data)] * 2))
        directory += (b"PK\x01\x02" + bytes(16) + sizes + struct.pack("<HHHHHI", len(name), len(long), 0, 0, 0, 0) +
                      struct.pack("<I", 0xFFFFFFFF if zip64 else len(body)) + name + long)
        body += b"PK\x03\x04" + bytes(22) + struct.pack("<HH", len(name), 0) + name + data
    at = len(body)
    body += directory
    if zip64:
        body += (b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 0, 0, 0, 0, len(parts), len(parts), len(directory), at) +
                 b"PK\x06\x07" + struct.pack("<IQI", 0, at + len(directory), 1))
    return body + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(parts), len(parts), len(directory), at, 0)


GGUF_NAMES = {
    "token_embd.weight": [2, 3], "position_embd.weight": [2, 2], "output_norm.weight": [2], "output_norm.bias": [2],
    "blk.0.attn_norm.weight": [2], "blk.0.attn_norm.bias": [2], "blk.0.attn_qkv.weight": [2, 6],
    "blk.0.attn_qkv.bias": [6], "blk.0.attn_output.weight": [2, 2], "blk.0.attn_output.bias": [2],
    "blk.0.ffn_norm.weight": [2], "blk.0.ffn_norm.bias": [2], "blk.0.ffn_up.weight": [2, 8], "blk.0.ffn_up.bias": [8],
    "blk.0.ffn_down.weight": [8, 2], "blk.0.ffn_down.bias": [2],
}
GPT2_GGUF = {
    "general.architecture": "gpt2", "general.alignment": 8, "gpt2.context_length": 2, "gpt2.embedding_length": 2,
    "gpt2.feed_forward_length": 8, "gpt2.block_count": 1, "gpt2.attention.head_count": 1,
    "gpt2.attention.layer_norm_epsilon": 1e-5,
}
# Elements and bytes of a block.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 24: (1, 1), 28: (1, 8), 30: (1, 2), 39: (32, 17)}


def gguf_text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    """Its type's number, and its bytes."""
    if isinstance(value, list):
        kind = gguf_value(value[0])[0]
        return 9, struct.pack("<IQ", kind, len(value)) + b"".join(gguf_value(item)[1] for item in value)
    if isinstance(value, str):
        return 8, gguf_text(value)
    return (6, struct.pack("<f", value)) if isinstance(value, float) else (4, struct.pack("<I", value))


def gguf(keys, tensors):
    alignment = keys.get("general.alignment", 32)
    file = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, value in keys.items():
        kind, data = gguf_value(value)
        file += gguf_text(key) + struct.pack("<I", kind) + data
    data = b""
    for name, (shape, kind) in tensors.items():
        file += gguf_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        elements, size = BLOCKS[kind]
        data += b"\x3c" * (product(shape) // elements * size)
        data += bytes(-len(data) % alignment)
    return file + bytes(-len(file) % alignment) + data


def main():
    target, folder = sys.argv[1], Path(sys.argv[2])
    made = globals().get(f"seeds_{target}")
    if made:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in made():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
