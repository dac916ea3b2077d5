"""Goldens of the text encoder and of text cleaning.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/text.py           # writes testdata/text/*

`weights.safetensors` is a tiny umT5 encoder with seeded weights under the names of the published
checkpoint; `cases.safetensors` is what the encoder of `transformers` makes of two captions, one of
them long enough for every bucket of relative positions. `clean.json` is what `ftfy`, `html` and a
collapse of whitespace, in the order of the reference, make of some prompts.
"""

import html
import json
import pathlib
import random
import re

import ftfy
import torch
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

VOCAB, DIM, HEADS, HEAD_WIDTH, FFN, LAYERS = 40, 24, 3, 6, 32, 2
BUCKETS, FARTHEST = 32, 128
TOKENS, LENGTHS = 176, (176, 23)
OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "text"

# Official name, name in transformers.
BLOCK_NAMES = {
    "norm1.weight": "layer.0.layer_norm.weight",
    "attn.q.weight": "layer.0.SelfAttention.q.weight",
    "attn.k.weight": "layer.0.SelfAttention.k.weight",
    "attn.v.weight": "layer.0.SelfAttention.v.weight",
    "attn.o.weight": "layer.0.SelfAttention.o.weight",
    "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
    "norm2.weight": "layer.1.layer_norm.weight",
    "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
    "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
    "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
}

PROMPTS = [
    "“hi” it’s ‘quoted’ „low‟ ʼn",
    "ﬁne ﬂow oﬃce waﬄe ﬅ ﬆ Ĳssel ŉ Ǆ ǆ Ǳ",
    "ＡＢＣ！　１２，３｡ｶﾞ￥￦",
    "ein &amp; zwei &amp;amp; drei &lt;b&gt; &quot;x&quot; &#39;y&#x27; &eacute;&nbsp;z",
    "<i>kept</i> &amp;amp; &amp;amp;amp; tag",
    "a\r\nb\rc\u2028d\u2029e\u0085f\tg\x0bh\x0ci\xa0j\u3000k",
    "\ufeffbom \x00nul \x07bell \x7fdel \u206aold \ufffcobject \u200bzero \u00adsoft",
    "\x1b[31mred\x1b[0m and \x1b[broken \x1b[1;2Hdone",
    "e\u0301 A\u030a \u1100\u1161 \u212b \u2126",
    "  many   spaces\u2003here  ",
    "色调艳丽，过曝，静态，细节模糊不清，字幕",
    "The film is a fast-paced scene.shot0:a close-up shot—50mm “lens”…",
    "plain ascii, nothing to do",
    "",
]

# What random prompts are made of: everything that cleaning changes, beside words it leaves alone.
FRAGMENTS = (
    "“ ” ‘ ’ „ ʼ ′ « » — – … ﬁ ﬂ ﬃ ﬄ ﬀ ﬅ Ĳ ŉ ǆ Ǳ ＡＢＣ ！ １２ ｡ ｶﾞ ￥ ， ： ａ ｗ ～ “” '' \" ` ´ \\ / - _ "
    "&amp; &lt; &gt; &quot; &#39; &#x27; &eacute; &nbsp; &mdash; &hellip; &amp;amp; &bogus; & <i> </i> < > "
    "é ß ñ œ 色调 静态 日本 한국 Привет שלום مرحبا हिन्दी 😀 👩\u200d🚀 🏽 🇨🇳 ² ½ № ™ ° € £ ¿ ¡ · • → ≤"
).split(" ") + [
    "\u3000", "\r\n", "\r", "\u2028", "\u2029", "\u0085", "\t", "\x0b", "\x0c", "\xa0", "\u2003",
    "\ufeff", "\x00", "\x07", "\x7f", "\u206a", "\ufffc", "\u200b", "\u00ad", "\u200d",
    "\x1b[31m", "\x1b[0m", "\x1b[", "e\u0301", "A\u030a", "\u1100\u1161", "\u212b", "\u2126",
]  # fmt: skip
WORDS = (
    "a the close-up wide shot of robot fox snow beach waves at sunset shot0: shot12: 50mm and meets in "
    "16:9 it's don't camera pans left. A, B; C"
).split()
RANDOM_PROMPTS = 320


def random_prompts():
    """Prompts of words and fragments; none that ftfy would take for text read in a wrong charset."""
    dice = random.Random(20260325)
    plain = ftfy.TextFixerConfig(fix_encoding=False)
    prompts = []
    while len(prompts) < RANDOM_PROMPTS:
        parts = (dice.choice(FRAGMENTS if dice.random() < 0.45 else WORDS) for _ in range(dice.randint(1, 12)))
        prompt = "".join(part + dice.choice(["", " ", " ", "  "]) for part in parts)
        if ftfy.fix_text(prompt) == ftfy.fix_text(prompt, plain):
            prompts.append(prompt)
    return prompts


def seeded_weights(generator):
    def normal(*shape, scale):
        return torch.randn(*shape, generator=generator) * scale

    attention = HEADS * HEAD_WIDTH
    weights = {"token_embedding.weight": normal(VOCAB, DIM, scale=1.0)}
    for n in range(LAYERS):
        block = {
            "norm1.weight": 1 + normal(DIM, scale=0.3),
            "attn.q.weight": normal(attention, DIM, scale=0.4),
            "attn.k.weight": normal(attention, DIM, scale=0.4),
            "attn.v.weight": normal(attention, DIM, scale=DIM**-0.5),
            "attn.o.weight": normal(DIM, attention, scale=attention**-0.5),
            "pos_embedding.embedding.weight": normal(BUCKETS, HEADS, scale=2.0),
            "norm2.weight": 1 + normal(DIM, scale=0.3),
            "ffn.gate.0.weight": normal(FFN, DIM, scale=DIM**-0.5),
            "ffn.fc1.weight": normal(FFN, DIM, scale=DIM**-0.5),
            "ffn.fc2.weight": normal(DIM, FFN, scale=FFN**-0.5),
        }
        weights |= {f"blocks.{n}.{name}": weight for name, weight in block.items()}
    weights["norm.weight"] = 1 + normal(DIM, scale=0.3)
    return weights


def transformers_name(name):
    match name.split(".", 2):
        case ["blocks", n, rest]:
            return f"encoder.block.{n}.{BLOCK_NAMES[rest]}"
        case ["token_embedding", _]:
            return "shared.weight"
        case _:
            return "encoder.final_layer_norm.weight"


def official_name(name):
    """The official name of a parameter of the encoder of transformers."""
    match name.removeprefix("encoder.").split(".", 2):
        case ["block", n, rest]:
            official = {theirs: ours for ours, theirs in BLOCK_NAMES.items()}
            return f"blocks.{n}.{official[rest]}"
        case ["final_layer_norm", _]:
            return "norm.weight"
        case _:
            return "token_embedding.weight"


def encoder(weights):
    config = UMT5Config(
        vocab_size=VOCAB,
        d_model=DIM,
        d_kv=HEAD_WIDTH,
        d_ff=FFN,
        num_layers=LAYERS,
        num_heads=HEADS,
        relative_attention_num_buckets=BUCKETS,
        relative_attention_max_distance=FARTHEST,
        feed_forward_proj="gated-gelu",
        layer_norm_epsilon=1e-6,
        dropout_rate=0.0,
    )
    model = UMT5EncoderModel(config)
    state = {transformers_name(name): weight for name, weight in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    # The embedding is there under a second name, tied to the first.
    assert set(missing) <= {"encoder.embed_tokens.weight"} and not unexpected, (missing, unexpected)
    tied = model.encoder.embed_tokens.weight.data_ptr()
    assert tied == model.shared.weight.data_ptr()
    return model.double().eval()


def clean(text):
    text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text)).strip()
    return re.sub(r"\s+", " ", text).strip()


def main():
    generator = torch.Generator().manual_seed(20260325)
    weights = seeded_weights(generator)
    ids = torch.randint(2, VOCAB, (len(LENGTHS), TOKENS), generator=generator)
    present = torch.arange(TOKENS)[None] < torch.tensor(LENGTHS)[:, None]
    ids = ids * present
    with torch.no_grad():
        made = encoder(weights)(input_ids=ids, attention_mask=present.long()).last_hidden_state
    made = (made * present[..., None]).float()
    cases = {"ids": ids, "lengths": torch.tensor(LENGTHS), "embeddings": made}
    OUT.mkdir(parents=True, exist_ok=True)
    save_file(weights, OUT / "weights.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in cases.items()}, OUT / "cases.safetensors")
    pairs = [{"typed": text, "cleaned": clean(text)} for text in PROMPTS + random_prompts()]
    (OUT / "clean.json").write_text(json.dumps(pairs, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
