#!/usr/bin/env python3
"""Makes the fixtures of tests/formats.rs and tests/tokenizer.rs.

    python3 -m venv VENV
    VENV/bin/pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0 sentencepiece==0.2.3
    VENV/bin/python make_format_fixtures.py

Oracles: the `gguf` package for dequantization and for the layout of GGUF files, `safetensors`
for its own, `sentencepiece` for the tokens of SentencePiece models.

    fixtures/gguf/quants.gguf        blocks of every type, random and adversarial, each with the
                                     f32 that `gguf.quants.dequantize` makes of them
    fixtures/gguf/values.gguf        metadata of every type; test_writer writes its twin
    fixtures/gguf/split-*.gguf       three tensors in two files
    fixtures/gguf/plain.safetensors  a tensor of each plain type
    fixtures/tokenizer/spm.gguf      a SentencePiece BPE model as llama.cpp's converter writes it
    fixtures/tokenizer/spm.json      texts with their ids
"""

import io
import json
from pathlib import Path

import gguf
import numpy as np
import safetensors
import sentencepiece
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V

HERE = Path(__file__).parent / "fixtures"
RNG = np.random.default_rng(20261123)

# Where the f16 scales of a block stand.
SCALES = {
    T.F16: [],
    T.BF16: [],
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q8_0: [0],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
}
# inf, -inf, NaN, largest, smallest normal, smallest subnormal, -0, 0, 1
F16_BITS = [0x7C00, 0xFC00, 0x7E00, 0x7BFF, 0x0400, 0x0001, 0x8000, 0x0000, 0x3C00]


def blocks_of(kind):
    """Random blocks with scales as models have them, then the same bits with extreme scales,
    then all-zero and all-one quants."""
    _, size = gguf.GGML_QUANT_SIZES[kind]
    rows = []
    for _ in range(3):
        row = RNG.integers(0, 256, size, dtype=np.uint8)
        for at in SCALES[kind]:
            scale = np.float16(RNG.normal() / 64)
            row[at : at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
        rows.append(row)
    for bits in F16_BITS if SCALES[kind] else []:
        row = RNG.integers(0, 256, size, dtype=np.uint8)
        for at in SCALES[kind]:
            row[at : at + 2] = np.frombuffer(np.uint16(bits).tobytes(), np.uint8)
        rows.append(row)
    for fill in (0x00, 0xFF):
        row = np.full(size, fill, np.uint8)
        for at in SCALES[kind]:
            row[at : at + 2] = np.frombuffer(np.float16(-0.25).tobytes(), np.uint8)
        rows.append(row)
    return np.stack(rows)


def quants():
    writer = gguf.GGUFWriter(HERE / "gguf/quants.gguf", "quants")
    for kind in SCALES:
        if kind in (T.F16, T.BF16):
            every = np.arange(0, 65536, 7, dtype=np.uint16)
            blocks = every.view(np.uint8).reshape(1, -1)
        else:
            blocks = blocks_of(kind)
        with np.errstate(all="ignore"):
            expected = gguf.quants.dequantize(blocks, kind).astype(np.float32)
        writer.add_tensor(kind.name, blocks, raw_dtype=kind)
        writer.add_tensor(f"{kind.name}.expected", expected)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values():
    writer = gguf.GGUFWriter(HERE / "gguf/values.gguf", "values")
    writer.add_uint32("a.uint32", 4_000_000_000)
    writer.add_float32("a.float32", 0.1)
    writer.add_bool("a.true", True)
    writer.add_bool("a.false", False)
    writer.add_string("a.string", "grüße 日本")
    writer.add_array("a.strings", ["", "a", "ü"])
    writer.add_array("a.ints", [-1, 0, 2_000_000_000])
    writer.add_array("a.floats", [0.5, -1e30])
    writer.add_tensor("first", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("second", np.zeros((1, 34), np.uint8), raw_dtype=T.Q8_0)
    finish(writer)

    writer = gguf.GGUFWriter(HERE / "gguf/types.gguf", "types")
    writer.add_uint8("b.uint8", 200)
    writer.add_int8("b.int8", -100)
    writer.add_uint16("b.uint16", 60000)
    writer.add_int16("b.int16", -30000)
    writer.add_int32("b.int32", -2_000_000_000)
    writer.add_uint64("b.uint64", 2**64 - 1)
    writer.add_int64("b.int64", -(2**63))
    writer.add_float64("b.float64", 1e300)
    writer.add_key_value("b.nested", [[1, 2], [3]], V.ARRAY)
    writer.add_array("b.bools", [True, False, True])
    writer.add_custom_alignment(64)
    writer.add_tensor("scalar", np.float16([2.5]))
    finish(writer)


def split():
    writer = gguf.GGUFWriter(HERE / "gguf/split.gguf", "split", split_max_tensors=2)
    for place, name in enumerate(["one", "two", "three"]):
        writer.add_tensor(name, np.full(4, place, np.float32))
    finish(writer)


def plain():
    tensors, keep = {}, []

    def add(name, dtype, shape, data):
        data = np.frombuffer(data, np.uint8)
        keep.append(data)
        tensors[name] = safetensors.TensorSpec(
            dtype=dtype, shape=shape, data_ptr=data.ctypes.data, data_len=data.nbytes
        )

    for place, name in enumerate(["float64", "float32", "float16", "bfloat16", "int64", "int32"]
                                 + ["int16", "int8", "uint8", "bool", "float8_e4m3fn"]):
        size = {"64": 8, "32": 4, "16": 2}.get(name[-2:], 1)
        data = bytes((place + i) % 2 for i in range(2 * 3 * size))
        add(name, name, [2, 3], data)
    add("empty", "float32", [0, 3], b"")
    add("scalar", "float32", [], np.float32(2.5).tobytes())
    out = safetensors.serialize(tensors, {"format": "pt"})
    (HERE / "gguf/plain.safetensors").write_bytes(out)


TEXTS = [
    "",
    " ",
    "  ",
    "Hello world",
    " Hello  world ",
    "the quick brown fox",
    "a\n\nb\tc",
    "1234567890 3.14",
    "don't I'll we've",
    "Grüße aus Zürich",
    "日本語と中文 한국어",
    "🙂👍🏽 👨‍👩‍👧",
    "naïve café e\u0301",
    "<s>not a token</s>",
    "<0x0A>",
    "▁ already ▁▁",
    "\u200b\ufeff\u00a0x",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "fn main() { println!(\"{}\", x[0] + 1); }",
    "\x00\x01\x7f",
]


def spm():
    words = "the quick brown fox jumps over the lazy dog and the cat sat on the mat while it was "
    words += "raining in the small town where people walked slowly home from their work every day "
    corpus = [words] * 20 + [words.title()] * 5 + ["Grüße aus Zürich, a  b   c 12 345"] * 5
    corpus += ["fn main() { let x = 1; println!(\"{}\", x); }"] * 5
    out = io.BytesIO()
    # As Llama's: no normalization, byte fallback, digits on their own.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=out, model_type="bpe", vocab_size=400,
        normalization_rule_name="identity", remove_extra_whitespaces=False, byte_fallback=True,
        split_digits=True, allow_whitespace_only_pieces=True, character_coverage=1.0,
        num_threads=1, minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    size = model.vocab_size()
    kinds = []
    for id in range(size):
        if model.is_unknown(id):
            kinds.append(gguf.TokenType.UNKNOWN)
        elif model.is_control(id):
            kinds.append(gguf.TokenType.CONTROL)
        elif model.is_byte(id):
            kinds.append(gguf.TokenType.BYTE)
        else:
            kinds.append(gguf.TokenType.NORMAL)
    writer = gguf.GGUFWriter(HERE / "tokenizer/spm.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([model.id_to_piece(id) for id in range(size)])
    writer.add_token_scores([model.get_score(id) for id in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(model.bos_id())
    writer.add_eos_token_id(model.eos_id())
    writer.add_unk_token_id(model.unk_id())
    writer.add_add_bos_token(True)
    finish(writer)
    cases = [{"text": text, "ids": model.encode(text)} for text in TEXTS]
    for case in cases:
        case["decoded"] = model.decode(case["ids"])
    path = HERE / "tokenizer/spm.json"
    path.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    quants()
    values()
    split()
    plain()
    spm()
