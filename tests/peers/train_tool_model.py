"""Trains a tiny Qwen3 that can do one small task with tools, for checks by hand against real servers.

usage: train_tool_model.py REQUEST.json OUT_DIR [STEPS]

REQUEST.json is the body of a chat request of `chela agent`: its system text and tools are what the model
learns to work under, in any order and number. The model greets; it lists a folder that holds notes.txt
(`The meeting is on Friday.`) and todo.txt (`Buy milk.`), and reads them. It has learnt these answers by heart
and knows nothing else: it checks the wire and the loop, not a model's abilities.

Needs torch, transformers and tokenizers; written for transformers 5. A few minutes on two
cores. The result is a folder for vLLM and transformers.
"""

import json
import random
import sys

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
LISTING = "notes.txt (26 B)\ntodo.txt (10 B)"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Tokens of their own, but shown in the text, as in Qwen's tokenizers: a client without a parser reads them.
MARKERS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEMPLATE = """{%- macro text(content) %}{{- content if content is string else '' }}{%- endmacro %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- text(messages[0].content) }}{%- endif %}
{%- if tools %}
{{- '\\n\\n# Tools\\n\\nYou may call one or more functions.\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools>\\n\\nFor each call return a JSON object within <tool_call></tool_call> tags:\\n<tool_call>\\n{"name": <name>, "arguments": <arguments>}\\n</tool_call>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- for message in messages %}
{%- if message.role == 'user' %}{{- '<|im_start|>user\\n' + text(message.content) + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}{{- '<|im_start|>assistant\\n' + text(message.content) }}
{%- for call in message.tool_calls or [] %}{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}{{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}{{- '<|im_start|>user\\n<tool_response>\\n' + text(message.content) + '\\n</tool_response><|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def call(name, arguments):
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}


def answer(text):
    return {"role": "assistant", "content": text}


def result(text):
    return {"role": "tool", "content": text}


def dialogue(rng):
    """The user's words, and the messages after them."""
    kind = rng.choice(["hello", "ls", "notes", "todo", "both"])
    listed = [call("ls", {}), result(LISTING)]
    notes = [call("read", {"path": "notes.txt"}), result("The meeting is on Friday."), answer("The meeting is on Friday.")]
    if kind == "hello":
        return rng.choice(["Say hello.", "hi", "Hello!"]), [answer("Hello! What shall I do?")]
    if kind == "ls":
        words = rng.choice(["What files are here?", "What is in this folder?", "List the files."])
        return words, listed + [answer("Two files: notes.txt and todo.txt.")]
    if kind == "todo":
        return rng.choice(["What do I have to do?", "Read todo.txt."]), [call("read", {"path": "todo.txt"}), result("Buy milk."), answer("You have to buy milk.")]
    if kind == "notes":
        return rng.choice(["When is the meeting?", "When is the meeting? Look in notes.txt."]), notes
    return "Look around: when is the meeting?", listed + notes


def example(rng, request):
    tools = request["tools"][:]
    if rng.random() < 0.5:
        rng.shuffle(tools)
        tools = [t for t in tools if t["function"]["name"] in ("read", "ls") or rng.random() < 0.7]
    if rng.random() < 0.3:
        tools = json.loads(json.dumps(tools))
        for tool in tools:
            tool["function"].pop("strict", None)
    words, steps = dialogue(rng)
    date = f"{rng.choice([d[:3] for d in DAYS])} 20{rng.randint(24, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} {rng.randint(0, 23):02}:{rng.randint(0, 59):02} +0{rng.randint(0, 9)}:00"
    folder = "/" + "/".join(rng.choice(["home", "work", "tmp", "t1", "w", "data", "src", "a7", "project"]) for _ in range(rng.randint(1, 4)))
    user = f"<context>\ndate: {date}\nworkspace: {folder}\n</context>\n\n{words}"
    return [request["messages"][0], {"role": "user", "content": user}] + steps, tools


def make_tokenizer(request):
    rng = random.Random(1)
    texts = [json.dumps(request["tools"]), request["messages"][0]["content"]]
    texts += [json.dumps(example(rng, request)[0]) for _ in range(300)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=1600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=SPECIAL))
    tokenizer.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in MARKERS])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = TEMPLATE
    return fast


def encode(tokenizer, messages, tools):
    """Token ids, and which of them the model itself writes."""
    ids, own = [], []
    for n, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = tokenizer.apply_chat_template(messages[:n], tools=tools, add_generation_prompt=True, tokenize=False)
        after = tokenizer.apply_chat_template(messages[: n + 1], tools=tools, tokenize=False)
        for text, mine in ((before, False), (after[len(before):], True)):
            known = tokenizer.decode(ids) if ids else ""
            part = text if mine else text[len(known):]
            new = tokenizer(part, add_special_tokens=False)["input_ids"]
            ids += new
            own += [mine] * len(new)
    return ids, own


def main():
    request = json.load(open(sys.argv[1]))
    out, steps = sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 700
    torch.manual_seed(7)
    rng = random.Random(7)
    tokenizer = make_tokenizer(request)
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = Qwen3Config(vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=64, max_position_embeddings=4096, tie_word_embeddings=True, eos_token_id=eos, pad_token_id=0, bos_token_id=None)
    model = Qwen3ForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        batch = [encode(tokenizer, *example(rng, request)) for _ in range(8)]
        length = max(len(ids) for ids, _ in batch)
        inputs = torch.zeros((len(batch), length), dtype=torch.long)
        labels = torch.full((len(batch), length), -100)
        for row, (ids, own) in enumerate(batch):
            inputs[row, : len(ids)] = torch.tensor(ids)
            labels[row, : len(ids)] = torch.tensor([i if o else -100 for i, o in zip(ids, own)])
        loss = model(input_ids=inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step} loss {loss.item():.4f} length {length}", flush=True)
        if step % 100 == 99 or step == steps - 1:
            model.to(torch.bfloat16).save_pretrained(out)
            tokenizer.save_pretrained(out)
            model.to(torch.float32)


main()
