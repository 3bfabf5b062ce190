#!/usr/bin/env python3
"""Writes a GGUF file with random weights in the shape of Llama-3.2-1B, to measure engines with.

    PYTHONPATH=llama.cpp/gguf-py python make_random_gguf.py Q8_0|Q4_0|Q4_K|BF16 OUT.gguf

The vocabulary is a synthetic byte-level one, so that llama.cpp and Chela both load the file; its text means
nothing. Embedding and head are one matrix, of 8 bits (Q6_K beside Q4_K), as converters make it.
"""

import sys

import gguf
import numpy as np

KIND, OUT = sys.argv[1], sys.argv[2]
QT = gguf.GGMLQuantizationType
HIDDEN, LAYERS, HEADS, KV, DIM, INNER, VOCAB = 2048, 16, 32, 8, 64, 8192, 128256
rng = np.random.default_rng(1)


def halves(n, scale):
    return (rng.uniform(0.5, 1.0, n) * scale).astype(np.float16).view(np.uint8).reshape(n, 2)


def quantized(rows, cols, kind, scale):
    """Random blocks of `kind`: small scales, any quants."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    n = rows * cols // block
    data = rng.integers(0, 256, (n, size), dtype=np.uint8)
    if kind == QT.Q8_0:
        data[:, :2] = halves(n, scale / 127)
        data[:, 2:] = rng.integers(-127, 128, (n, 32), dtype=np.int8).view(np.uint8)
    elif kind == QT.Q4_0:
        data[:, :2] = halves(n, scale / 8)
    elif kind == QT.Q4_K:
        data[:, :2], data[:, 2:4] = halves(n, scale / 500), halves(n, scale / 70)
    elif kind == QT.Q6_K:
        data[:, 208:] = halves(n, scale / 2000)
    return data.reshape(rows, -1)


def bf16(rows, cols, scale):
    x = (rng.standard_normal((rows, cols), dtype=np.float32) * scale).view(np.uint32)
    return (x >> 16).astype(np.uint16).view(np.uint8).reshape(rows, -1)


w = gguf.GGUFWriter(OUT, "llama")
w.add_context_length(8192)
w.add_embedding_length(HIDDEN)
w.add_block_count(LAYERS)
w.add_feed_forward_length(INNER)
w.add_head_count(HEADS)
w.add_head_count_kv(KV)
w.add_key_length(DIM)
w.add_value_length(DIM)
w.add_rope_dimension_count(DIM)
w.add_layer_norm_rms_eps(1e-5)
w.add_rope_freq_base(500000.0)
w.add_vocab_size(VOCAB)
w.add_tokenizer_model("gpt2")
w.add_tokenizer_pre("llama-bpe")
codes = [b if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or 0xAE <= b <= 0xFF else None for b in range(256)]
spare = iter(range(0x100, 0x200))
letters = [chr(c if c is not None else next(spare)) for c in codes]
pairs = [(a, b) for a in letters for b in letters]
triples = ((a + b, c) for a, b in pairs for c in letters)
merges = pairs + [next(triples) for _ in range(VOCAB - 256 - 2 - len(pairs))]
w.add_token_list(letters + [a + b for a, b in merges] + ["<|begin_of_text|>", "<|eot_id|>"])
w.add_token_types([1] * (VOCAB - 2) + [3, 3])
w.add_token_merges([f"{a} {b}" for a, b in merges])
w.add_bos_token_id(VOCAB - 2)
w.add_eos_token_id(VOCAB - 1)


def add(name, rows, cols, kind=KIND):
    scale = 1 / cols**0.5
    if kind == "BF16":
        w.add_tensor(name, bf16(rows, cols, scale), raw_dtype=QT.BF16)
    else:
        w.add_tensor(name, quantized(rows, cols, QT[kind], scale), raw_dtype=QT[kind])


add("token_embd.weight", VOCAB, HIDDEN, {"Q4_0": "Q8_0", "Q4_K": "Q6_K"}.get(KIND, KIND))
w.add_tensor("output_norm.weight", np.ones(HIDDEN, dtype=np.float32))
for i in range(LAYERS):
    add(f"blk.{i}.attn_q.weight", HEADS * DIM, HIDDEN)
    add(f"blk.{i}.attn_k.weight", KV * DIM, HIDDEN)
    add(f"blk.{i}.attn_v.weight", KV * DIM, HIDDEN)
    add(f"blk.{i}.attn_output.weight", HIDDEN, HEADS * DIM)
    add(f"blk.{i}.ffn_gate.weight", INNER, HIDDEN)
    add(f"blk.{i}.ffn_up.weight", INNER, HIDDEN)
    add(f"blk.{i}.ffn_down.weight", HIDDEN, INNER)
    for norm in ["attn_norm", "ffn_norm"]:
        w.add_tensor(f"blk.{i}.{norm}.weight", np.ones(HIDDEN, dtype=np.float32))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
