"""Goldens of files of llama.cpp.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/gguf_files.py     # writes testdata/gguf_files/*

`blocks.gguf` has a tensor of every type that is read: random blocks, whose scales are small. What
they stand for, as the package `gguf` unpacks them, is in `blocks.safetensors`. `umt5.gguf` is a
tiny umT5 encoder under the names of llama.cpp, its matrices in Q8_0; `umt5.safetensors` has the
same numbers under the names of the published checkpoint.
"""

import pathlib

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "gguf_files"
TYPES = gguf.GGMLQuantizationType

VOCAB, DIM, WIDTH, FFN, HEADS, LAYERS, BUCKETS = 40, 32, 32, 64, 2, 2, 8

# Bytes of a block, and where its f16 scales are.
BLOCKS = {
    TYPES.Q8_0: (34, [0]),
    TYPES.Q4_0: (18, [0]),
    TYPES.Q4_K: (144, [0, 2]),
    TYPES.Q5_K: (176, [0, 2]),
    TYPES.Q6_K: (210, [208]),
}

# Official name, name in llama.cpp, shape.
BLOCK_TENSORS = [
    ("norm1.weight", "attn_norm.weight", (DIM,)),
    ("attn.q.weight", "attn_q.weight", (WIDTH, DIM)),
    ("attn.k.weight", "attn_k.weight", (WIDTH, DIM)),
    ("attn.v.weight", "attn_v.weight", (WIDTH, DIM)),
    ("attn.o.weight", "attn_o.weight", (DIM, WIDTH)),
    ("pos_embedding.embedding.weight", "attn_rel_b.weight", (BUCKETS, HEADS)),
    ("norm2.weight", "ffn_norm.weight", (DIM,)),
    ("ffn.gate.0.weight", "ffn_gate.weight", (FFN, DIM)),
    ("ffn.fc1.weight", "ffn_up.weight", (FFN, DIM)),
    ("ffn.fc2.weight", "ffn_down.weight", (DIM, FFN)),
]


def blocks(random, kind, rows, columns):
    """Random blocks with scales that are small and of both signs."""
    size, scales = BLOCKS[kind]
    count = rows * columns // gguf.GGML_QUANT_SIZES[kind][0]
    raw = random.integers(0, 256, (count, size), dtype=np.uint8)
    for place in scales:
        values = random.normal(0, 0.05, count).astype(np.float16)
        raw[:, place : place + 2] = values.view(np.uint8).reshape(count, 2)
    return raw.reshape(rows, -1)


def write(name, tensors):
    writer = gguf.GGUFWriter(OUT / name, "t5encoder")
    # Settings of every kind, which are passed over.
    writer.add_name("a golden")
    writer.add_uint32("golden.count", 7)
    writer.add_float32("golden.share", 0.5)
    writer.add_bool("golden.flag", True)
    writer.add_array("golden.words", ["a", "red", "cat", ""])
    writer.add_array("golden.numbers", [1, 2, 3])
    for tensor, values, kind in tensors:
        writer.add_tensor(tensor, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def all_types(random):
    tensors, expected = [], {}
    for kind in BLOCKS:
        raw = blocks(random, kind, 3, 512)
        tensors.append((kind.name.lower(), raw, kind))
        expected[kind.name.lower()] = dequantize(raw, kind).astype(np.float32)
    values = random.normal(0, 1, (3, 5)).astype(np.float32)
    tensors.append(("f32", values, None))
    expected["f32"] = values
    halves = values.astype(np.float16)
    tensors.append(("f16", halves, None))
    expected["f16"] = halves.astype(np.float32)
    raw = quantize(values, TYPES.BF16)
    tensors.append(("bf16", raw, TYPES.BF16))
    expected["bf16"] = dequantize(raw, TYPES.BF16).astype(np.float32)
    write("blocks.gguf", tensors)
    save_file(expected, OUT / "blocks.safetensors")


def encoder(random):
    listed = [("token_embedding.weight", "token_embd.weight", (VOCAB, DIM))]
    for layer in range(LAYERS):
        for official, theirs, shape in BLOCK_TENSORS:
            listed.append((f"blocks.{layer}.{official}", f"enc.blk.{layer}.{theirs}", shape))
    listed.append(("norm.weight", "enc.output_norm.weight", (DIM,)))
    tensors, expected = [], {}
    for official, theirs, shape in listed:
        values = random.normal(0, 1, shape).astype(np.float32) / np.sqrt(shape[-1])
        values = values.astype(np.float32)
        if len(shape) == 2 and shape[1] % 32 == 0:
            raw = quantize(values, TYPES.Q8_0)
            tensors.append((theirs, raw, TYPES.Q8_0))
            expected[official] = dequantize(raw, TYPES.Q8_0).astype(np.float32)
        else:
            tensors.append((theirs, values, None))
            expected[official] = values
    write("umt5.gguf", tensors)
    save_file(expected, OUT / "umt5.safetensors")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    all_types(np.random.default_rng(1))
    encoder(np.random.default_rng(2))
