#!/usr/bin/env python3
"""Makes tests/fixtures/models: tiny random models of each family with what transformers computes.

The oracle is transformers 5.19.0 with torch 2.13.0, eager attention, f32 arithmetic. Weights are rounded
to the stored type first, so that the stored model is exactly the one that was run. Norm weights are not 1
and biases not 0. Each case has a prompt longer than the original rope length and than any window.

The case `places` is a Llama with what families to come have: soft-capped scores in its first layer, by the
attention of transformers' Gemma 2; sinks and a window in its second, by that of its GPT-OSS; and Gemma 2's
soft-cap of the logits. No configuration describes it, so the test sets it in the spec.

    python make_model_fixtures.py [CASE ...]
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    MinistralConfig,
    MinistralForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.gpt_oss import modeling_gpt_oss

assert transformers.__version__ == "5.19.0", transformers.__version__
assert torch.__version__.startswith("2.13.0"), torch.__version__

ROOT = pathlib.Path(__file__).parent / "fixtures" / "models"
PROMPT = 80
GREEDY = 16

COMMON = dict(
    vocab_size=256,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    bos_token_id=1,
    eos_token_id=2,
)


def rope(kind, **more):
    return {"rope_type": kind, "rope_theta": 10000.0, **more}


CASES = {
    "qwen3": (
        Qwen3ForCausalLM,
        Qwen3Config(
            **COMMON, head_dim=32, tie_word_embeddings=True, rope_parameters=rope("default")
        ),
        torch.bfloat16,
    ),
    "qwen3-window-bias": (
        Qwen3ForCausalLM,
        Qwen3Config(
            **COMMON,
            head_dim=32,
            attention_bias=True,
            use_sliding_window=True,
            sliding_window=24,
            max_window_layers=1,
            rope_parameters=rope("default"),
        ),
        torch.float16,
    ),
    "llama3": (
        LlamaForCausalLM,
        LlamaConfig(
            **COMMON,
            head_dim=32,
            tie_word_embeddings=True,
            rms_norm_eps=1e-5,
            rope_parameters=rope(
                "llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=32,
            ),
        ),
        torch.bfloat16,
    ),
    "llama-bias": (
        LlamaForCausalLM,
        LlamaConfig(
            **COMMON, attention_bias=True, mlp_bias=True, rope_parameters=rope("linear", factor=4.0)
        ),
        torch.float32,
    ),
    "mistral": (
        MistralForCausalLM,
        MistralConfig(**COMMON, head_dim=32, sliding_window=40, rope_parameters=rope("default")),
        torch.bfloat16,
    ),
    "ministral": (
        MinistralForCausalLM,
        MinistralConfig(
            **COMMON,
            head_dim=32,
            sliding_window=33,
            layer_types=["full_attention", "sliding_attention"],
            rope_parameters=rope("default"),
        ),
        torch.bfloat16,
    ),
    "ministral3": (
        Ministral3ForCausalLM,
        Ministral3Config(
            **COMMON,
            head_dim=32,
            tie_word_embeddings=True,
            rope_parameters=rope(
                "yarn",
                factor=16.0,
                original_max_position_embeddings=32,
                beta_fast=32.0,
                beta_slow=1.0,
                mscale=1.0,
                mscale_all_dim=1.0,
                llama_4_scaling_beta=0.1,
            ),
        ),
        torch.bfloat16,
    ),
    "places": (
        LlamaForCausalLM,
        LlamaConfig(**COMMON, head_dim=32, rope_parameters=rope("default")),
        torch.bfloat16,
    ),
}
SCORE_CAP, LOGIT_CAP, WINDOW = 2.0, 20.0, 24


def capped_attention(module, query, key, value, attention_mask, **more):
    return modeling_gemma2.eager_attention_forward(
        module, query, key, value, attention_mask, softcap=SCORE_CAP, **more
    )


def sink_attention(module, query, key, value, attention_mask, **more):
    positions = torch.arange(query.shape[2])
    far = positions[:, None] - positions[None, :] >= WINDOW
    mask = attention_mask.masked_fill(far, torch.finfo(torch.float32).min)
    return modeling_gpt_oss.eager_attention_forward(module, query, key, value, mask, **more)


def eager_attention(module, *args, **more):
    """The first layer caps its scores, the second has sinks."""
    own = capped_attention if module.layer_idx == 0 else sink_attention
    return own(module, *args, **more)


transformers.AttentionInterface.register("places", eager_attention)
transformers.AttentionMaskInterface.register(
    "places", transformers.masking_utils.eager_mask
)


def add_places(model):
    model.config._attn_implementation = "places"
    attention = model.model.layers[1].self_attn
    attention.sinks = torch.nn.Parameter(torch.zeros(model.config.num_attention_heads))

    def cap(_module, _args, out):
        # As in the forward pass of Gemma2ForCausalLM.
        return torch.tanh(out / LOGIT_CAP) * LOGIT_CAP

    model.lm_head.register_forward_hook(cap)


def randomise(model, dtype):
    """Weights large enough for logits that differ, norms around 1, biases around 0."""
    for name, p in model.named_parameters():
        if "norm" in name:
            p.data = 1.0 + 0.3 * torch.randn_like(p)
        elif name.endswith("sinks"):
            p.data = 2.0 * torch.randn_like(p)
        elif name.endswith("bias"):
            p.data = 0.2 * torch.randn_like(p)
        elif "embed" in name or "lm_head" in name:
            p.data = torch.randn_like(p)
        else:
            p.data = 1.5 / p.shape[1] ** 0.5 * torch.randn_like(p)
        p.data = p.data.to(dtype).to(torch.float32)


def make(name, model_class, config, dtype):
    torch.manual_seed(20 + len(name))
    config._attn_implementation = "eager"
    config.dtype = dtype
    model = model_class(config).to(torch.float32).eval()
    if name == "places":
        add_places(model)
    randomise(model, dtype)
    model.tie_weights()
    prompt = torch.randint(3, config.vocab_size, (1, PROMPT))
    with torch.no_grad():
        out = model(prompt, output_hidden_states=True, use_cache=False)
        # The last hidden state is normed; a hook takes the residual stream before the norm.
        kept = []
        hook = model.model.norm.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
        model(prompt, use_cache=False)
        hook.remove()
        ids = prompt
        for _ in range(GREEDY):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1].argmax(-1)[None]], 1)
    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    taps = [*out.hidden_states[:-1], kept[0]]
    # Every fourth position of the taps keeps the files small.
    expected = {f"tap.{i}": t[0, ::4].contiguous() for i, t in enumerate(taps)}
    expected["logits"] = out.logits[0, ::4].contiguous()
    save_file(expected, folder / "expected.safetensors")
    case = {"prompt": prompt[0].tolist(), "greedy": ids[0, PROMPT:].tolist(), "stride": 4}
    (folder / "expected.json").write_text(json.dumps(case) + "\n")
    tensors = {k: v.to(dtype).contiguous() for k, v in model.state_dict().items()}
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = [model_class.__name__]
    config.save_pretrained(folder)
    print(name, [round(float(out.logits.std()), 3), round(float(out.logits.abs().max()), 3)])


for name, case in CASES.items():
    if name in (sys.argv[1:] or CASES):
        make(name, *case)
