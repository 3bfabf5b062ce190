"""A run that goes on from a finished file.

    python -m chela_demo.restore FILE.gguf RUN        RUN/tokenizer.json and RUN/last.pt, at step 0

The weights are those of the file, so rounded to Q8_0; the optimizer begins anew. The vocabulary is the
file's too, as the one of a changed generator would be another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import torch

from . import tokenizer
from .export import gguf_name, vocabulary
from .model import SIZES, Config, Qwen3, config_dict
from .optim import Muon
from .train import save


def field(reader: gguf.GGUFReader, name: str):
    return reader.get_field(name).contents()


def restore(path: Path, run: Path) -> None:
    reader = gguf.GGUFReader(path)
    run.mkdir(parents=True, exist_ok=True)
    tokens = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    kinds = field(reader, "tokenizer.ggml.token_type")
    own = [token for token, kind in zip(tokens, kinds) if kind == gguf.TokenType.NORMAL]
    tokenizer.assembled(own, merges).save(str(run / "tokenizer.json"))
    if vocabulary(run)[:2] != (tokens, kinds):
        raise SystemExit(f"{path}: its markers are not the ones of tokenizer.py")
    layers, hidden = field(reader, "qwen3.block_count"), field(reader, "qwen3.embedding_length")
    size = next(size for size in SIZES.values() if (size.layers, size.hidden) == (layers, hidden))
    model = Qwen3(Config(**{**config_dict(size), "vocab": len(tokens)}))
    stored = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    model.load_state_dict({name: torch.from_numpy(stored[gguf_name(name)].copy()) for name in model.state_dict()})
    save(run / "last.pt", model, Muon(dict(model.named_parameters()), 0.0, 0.0), 0, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    restore(args.file, args.run)


if __name__ == "__main__":
    main()
