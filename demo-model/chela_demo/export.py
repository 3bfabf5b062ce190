"""A trained model as files that others load.

    python -m chela_demo.export RUN/last.pt FOLDER            a Hugging Face folder, bfloat16
    python -m chela_demo.export RUN/last.pt FILE.gguf         one GGUF file, Q8_0

The tokenizer is the run's own, beside the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from . import tokenizer
from .model import Config
from .train import load

DESCRIPTION = "A very small language model that drives Chela's tools; it knows nothing else."

LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor."""
    name = name.removeprefix("model.").removesuffix(".weight")
    if name == "embed_tokens":
        return "token_embd.weight"
    if name == "norm":
        return "output_norm.weight"
    _, number, part = name.split(".", 2)
    return f"blk.{number}.{LAYER[part]}.weight"


def vocabulary(path: Path) -> tuple[list[str], list[int], list[str]]:
    """Tokens, their GGUF types, and the merges."""
    made = json.loads((path / "tokenizer.json").read_text())
    added = {token["id"]: token for token in made["added_tokens"]}
    tokens = {number: token for token, number in made["model"]["vocab"].items()} | {number: token["content"] for number, token in added.items()}
    kinds = [1 if number not in added else 3 if added[number]["special"] else 4 for number in range(len(tokens))]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in made["model"]["merges"]]
    return [tokens[number] for number in range(len(tokens))], kinds, merges


def to_folder(state: dict, run: Path, out: Path) -> None:
    from safetensors.torch import save_file

    c = Config(**state["config"])
    out.mkdir(parents=True, exist_ok=True)
    tokens, _, _ = vocabulary(run)
    end, pad = tokens.index("<|im_end|>"), tokens.index("<|endoftext|>")
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state["model"].items()}
    save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(c.huggingface(end, pad), indent=1) + "\n")
    generation = {"eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": False, "temperature": 0.0}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")
    (out / "tokenizer_config.json").write_text(json.dumps(tokenizer.config(), indent=1) + "\n")
    shutil.copy(run / "tokenizer.json", out / "tokenizer.json")


def to_gguf(state: dict, run: Path, out: Path, name: str) -> None:
    import gguf  # only here: training does not need it
    import numpy as np

    c = Config(**state["config"])
    tokens, kinds, merges = vocabulary(run)
    writer = gguf.GGUFWriter(str(out), "qwen3")
    writer.add_name(name)
    writer.add_description(DESCRIPTION)
    writer.add_context_length(c.window)
    writer.add_embedding_length(c.hidden)
    writer.add_block_count(c.layers)
    writer.add_feed_forward_length(c.inner)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_rope_freq_base(c.theta)
    writer.add_layer_norm_rms_eps(c.eps)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    # Greedy: what it writes is copied or known by heart.
    writer.add_float32("general.sampling.temp", 0.0)
    writer.add_chat_template(tokenizer.config()["chat_template"])
    for tensor_name, tensor in state["model"].items():
        values = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(gguf_name(tensor_name), values.astype(np.float32))
        else:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(gguf_name(tensor_name), packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", default="Chela demo")
    args = parser.parse_args()
    state = load(args.checkpoint)
    if args.out.suffix == ".gguf":
        to_gguf(state, args.checkpoint.parent, args.out, args.name)
    else:
        to_folder(state, args.checkpoint.parent, args.out)


if __name__ == "__main__":
    main()
