#!/usr/bin/env python3
"""Makes tests/fixtures/gguf-models: tiny GGUF files of each family with what llama.cpp computes.

The oracle is llama.cpp 0c1e570 (the tree in the sdist of llama-cpp-python 0.3.36): its `llama-server` gives
the log-probabilities of the whole vocabulary after a prompt of token ids. The weights are those of
tests/fixtures/models (see make_model_fixtures.py), and of a random model wide enough for K-quants.

    PYTHONPATH=llama.cpp/gguf-py python make_gguf_fixtures.py LLAMA_CPP_BIN_FOLDER
"""

import json
import math
import pathlib
import subprocess
import sys
import time
import urllib.request

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

BIN = pathlib.Path(sys.argv[1])
FIXTURES = pathlib.Path(__file__).parent / "fixtures"
OUT = FIXTURES / "gguf-models"
PORT = 18977
LENGTHS = [1, 7, 33, 64, 79]
QT = gguf.GGMLQuantizationType

NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def gguf_name(name):
    name = name.removeprefix("model.")
    if name.startswith("layers."):
        _, layer, rest = name.split(".", 2)
        return f"blk.{layer}.{NAMES[rest]}"
    return {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight"}[name]


def pairs(w, heads):
    """Rows in the order in which neighbours rotate together, as GGUF's llama has them."""
    rows, cols = w.shape
    return w.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def llama3_factors(rope, dim):
    """What the converter stores as rope_freqs.weight."""
    low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    factors = []
    for i in range(dim // 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * i / dim)
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def write(path, arch, config, tensors, types):
    w = gguf.GGUFWriter(path, arch)
    rope = config["rope_parameters"]
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_key_value_heads"])
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_freq_base(rope["rope_theta"])
    w.add_vocab_size(config["vocab_size"])
    if arch != "qwen3":
        w.add_rope_dimension_count(head)
    if rope["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
        w.add_attn_temperature_scale(rope["llama_4_scaling_beta"])
    if rope["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(rope, head))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("default")
    w.add_token_list([f"t{i}" for i in range(config["vocab_size"])])
    w.add_token_types([1] * config["vocab_size"])
    w.add_token_merges(["t 1"])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    for name, value in tensors.items():
        value = value.to(torch.float32).numpy()
        if arch != "qwen3" and name.endswith(("q_proj.weight", "k_proj.weight")):
            key = "num_attention_heads" if "q_proj" in name else "num_key_value_heads"
            value = pairs(value, config[key])
        name = gguf_name(name)
        kind = QT.F32 if value.ndim == 1 else types(name)
        if kind == QT.F32:
            w.add_tensor(name, value)
        else:
            w.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def ask(path, prompts):
    server = subprocess.Popen(
        [BIN / "llama-server", "-m", path, "--port", str(PORT), "-c", "512", "-t", "1", "--no-warmup",
         "-fa", "off", "-ctk", "f32", "-ctv", "f32"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{PORT}"
        for _ in range(100):
            try:
                urllib.request.urlopen(base + "/health")
                break
            except OSError:
                time.sleep(0.1)
        rows = []
        for prompt in prompts:
            body = {"prompt": prompt, "n_predict": 1, "n_probs": 256, "temperature": 1.0, "samplers": [],
                    "cache_prompt": False}
            request = urllib.request.Request(base + "/completion", json.dumps(body).encode(),
                                             {"Content-Type": "application/json"})
            answer = json.load(urllib.request.urlopen(request))
            top = answer["completion_probabilities"][0]["top_logprobs"]
            assert len(top) == 256, len(top)
            row = [0.0] * 256
            for one in top:
                assert one["logprob"] > -80, "the weights make tokens too unlikely for f32"
                row[one["id"]] = round(one["logprob"], 5)
            rows.append(row)
        return rows
    finally:
        server.terminate()
        server.wait()


def record(path, prompt):
    rows = ask(path, [prompt[:n] for n in LENGTHS])
    expected = {"prompt": prompt, "lengths": LENGTHS, "logprobs": rows}
    path.with_suffix(".json").write_text(json.dumps(expected) + "\n")
    print(path.name, path.stat().st_size)


def fixture(case):
    folder = FIXTURES / "models" / case
    config = json.loads((folder / "config.json").read_text())
    prompt = json.loads((folder / "expected.json").read_text())["prompt"]
    return config, load_file(folder / "model.safetensors"), prompt


OUT.mkdir(exist_ok=True)

config, tensors, prompt = fixture("qwen3")
write(OUT / "qwen3-q8_0.gguf", "qwen3", config, tensors, lambda _: QT.Q8_0)
record(OUT / "qwen3-q8_0.gguf", prompt)

config, tensors, prompt = fixture("llama3")
write(OUT / "llama-q4_0-f16.gguf", "llama", config, tensors, lambda n: QT.Q4_0 if "ffn" in n else QT.F16)
record(OUT / "llama-q4_0-f16.gguf", prompt)

config, tensors, prompt = fixture("ministral3")
write(OUT / "mistral3-bf16.gguf", "mistral3", config, tensors, lambda _: QT.BF16)
record(OUT / "mistral3-bf16.gguf", prompt)

torch.manual_seed(3)
config.update(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4,
              num_key_value_heads=2, head_dim=64, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
wide = {"model.embed_tokens.weight": 0.3 * torch.randn(256, 256), "model.norm.weight": 1 + 0.3 * torch.randn(256)}
for part, (rows, cols) in {"self_attn.q_proj": (256, 256), "self_attn.k_proj": (128, 256),
                           "self_attn.v_proj": (128, 256), "self_attn.o_proj": (256, 256),
                           "mlp.gate_proj": (256, 256), "mlp.up_proj": (256, 256),
                           "mlp.down_proj": (256, 256)}.items():
    wide[f"model.layers.0.{part}.weight"] = 1.5 / cols**0.5 * torch.randn(rows, cols)
for part in ["input_layernorm", "post_attention_layernorm"]:
    wide[f"model.layers.0.{part}.weight"] = 1 + 0.3 * torch.randn(256)
plain = OUT / "plain.gguf"
write(plain, "llama", config, wide, lambda _: QT.F32)
path = OUT / "llama-k-quants.gguf"
kinds = {"attn_q": "q4_k", "attn_k": "q4_k", "attn_v": "q6_k", "attn_output": "q5_k", "ffn_gate": "q4_k",
         "ffn_up": "q5_k", "ffn_down": "q6_k"}
flags = [f for name, kind in kinds.items() for f in ("--tensor-type", f"{name}={kind}")]
subprocess.run([BIN / "llama-quantize", "--token-embedding-type", "q6_k", *flags, plain, path, "q4_k_m", "1"],
               check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
plain.unlink()
record(path, prompt)
