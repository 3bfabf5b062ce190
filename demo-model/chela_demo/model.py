"""Qwen3 as transformers has it (names of the tensors included), with one addition for training:
many dialogues in one batch share a prefix, which is computed once."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Config:
    """Sizes; `window` is what the finished model is said to take."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int = 0
    window: int = 8192
    theta: float = 10_000.0
    eps: float = 1e-6

    def parameters(self) -> int:
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner) + self.vocab * self.hidden

    def huggingface(self, end: int, pad: int) -> dict:
        """`config.json`."""
        return {
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": None, "eos_token_id": end, "pad_token_id": pad, "head_dim": self.head_dim, "hidden_act": "silu",
            "hidden_size": self.hidden, "initializer_range": 0.02, "intermediate_size": self.inner, "max_position_embeddings": self.window,
            "max_window_layers": self.layers, "num_attention_heads": self.heads, "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads, "rms_norm_eps": self.eps, "rope_scaling": None, "rope_theta": self.theta,
            "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
            "use_sliding_window": False, "vocab_size": self.vocab,
        }  # fmt: skip


# The ladder. Parameters with a vocabulary of about 1,550.
SIZES = {
    "tiny": Config(hidden=64, layers=2, heads=2, kv_heads=1, head_dim=32, inner=128),
    "3m": Config(hidden=192, layers=6, heads=6, kv_heads=3, head_dim=32, inner=576),
    "5m": Config(hidden=256, layers=6, heads=8, kv_heads=4, head_dim=32, inner=768),
    "10m": Config(hidden=320, layers=8, heads=10, kv_heads=5, head_dim=32, inner=960),
    "30m": Config(hidden=512, layers=10, heads=8, kv_heads=4, head_dim=64, inner=1536),
}


class Attention(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c.hidden, c.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.heads * c.head_dim, c.hidden, bias=False)
        self.q_norm = nn.RMSNorm(c.head_dim, c.eps)
        self.k_norm = nn.RMSNorm(c.head_dim, c.eps)

    def forward(self, x: Tensor, shape: Shape) -> Tensor:
        """`x`: `[prefix + batch * length, hidden]`."""
        c = self.c
        weights = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        q, k, v = F.linear(x, weights).split([c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim], -1)
        q = rotate(self.q_norm(q.unflatten(-1, (c.heads, c.head_dim))), shape)
        k = rotate(self.k_norm(k.unflatten(-1, (c.kv_heads, c.head_dim))), shape)
        v = v.unflatten(-1, (c.kv_heads, c.head_dim))
        groups = c.heads // c.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        p = shape.prefix
        # [n, heads, dim] to [batch, heads, length, dim]
        own = lambda t: t[p:].unflatten(0, (shape.batch, shape.length)).transpose(1, 2)
        if p == 0:
            out = F.scaled_dot_product_attention(own(q), own(k), own(v), is_causal=True)
            return self.o_proj(out.transpose(1, 2).flatten(2).flatten(0, 1))
        before = lambda t: t[:p].transpose(0, 1).unsqueeze(0)
        first = F.scaled_dot_product_attention(before(q), before(k), before(v), is_causal=True)
        with_prefix = lambda t: torch.cat([before(t).expand(shape.batch, -1, -1, -1), own(t)], 2)
        out = F.scaled_dot_product_attention(own(q), with_prefix(k), with_prefix(v), attn_mask=shape.mask)
        flat = torch.cat([first.squeeze(0).transpose(0, 1).flatten(1), out.transpose(1, 2).flatten(2).flatten(0, 1)])
        return self.o_proj(flat)


class MLP(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden, c.inner, bias=False)
        self.up_proj = nn.Linear(c.hidden, c.inner, bias=False)
        self.down_proj = nn.Linear(c.inner, c.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.self_attn = Attention(c)
        self.mlp = MLP(c)
        self.input_layernorm = nn.RMSNorm(c.hidden, c.eps)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden, c.eps)

    def forward(self, x: Tensor, shape: Shape) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), shape)
        return x + self.mlp(self.post_attention_layernorm(x))


class Inner(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = nn.RMSNorm(c.hidden, c.eps)


class Shape:
    """How tokens lie: a prefix, then `batch` rows of `length`, each behind that prefix."""

    def __init__(self, c: Config, prefix: int, places: Tensor, dtype):
        """`places`: where each token of `[batch, length]` stands behind the prefix."""
        self.prefix, (self.batch, self.length) = prefix, places.shape
        device, length = places.device, self.length
        at = torch.cat([torch.arange(prefix, device=device), places.flatten() + prefix])
        frequencies = c.theta ** (-torch.arange(0, c.head_dim, 2, device=device, dtype=torch.float32) / c.head_dim)
        angles = torch.cat([at[:, None] * frequencies] * 2, -1)[:, None, :]
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)
        self.mask = torch.ones(length, prefix + length, dtype=torch.bool, device=device).tril(prefix)


def rotate(x: Tensor, shape: Shape) -> Tensor:
    """RoPE as Qwen's: the first half of a head beside the second. `x`: `[n, heads, dim]`."""
    a, b = x.chunk(2, -1)
    return x * shape.cos + torch.cat([-b, a], -1) * shape.sin


class Qwen3(nn.Module):
    def __init__(self, c: Config, seed: int = 1):
        super().__init__()
        torch.manual_seed(seed)
        self.c = c
        self.model = Inner(c)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                std = 0.02 if "embed" in name else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(parameter)
            # Copying wants sharp attention, and normed heads would have to learn to be sharp first.
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                nn.init.constant_(parameter, 1.5)

    def hidden(self, tokens: Tensor, prefix: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """`tokens` `[batch, length]` to `[batch * length, hidden]`, all behind `prefix` `[p]`; `places` as
        `tokens`, by default one after the other."""
        flat = tokens.flatten() if prefix is None else torch.cat([prefix, tokens.flatten()])
        count = 0 if prefix is None else len(prefix)
        x = self.model.embed_tokens(flat)
        if places is None:
            places = torch.arange(tokens.shape[1], device=x.device).expand_as(tokens)
        shape = Shape(self.c, count, places, x.dtype)
        for layer in self.model.layers:
            x = layer(x, shape)
        return self.model.norm(x[count:])

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.model.embed_tokens.weight)


def config_dict(c: Config) -> dict:
    return asdict(c)
