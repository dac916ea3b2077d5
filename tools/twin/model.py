"""A model file: the three networks and the tokenizer.

It is a safetensors file: tensors after `dit.`, `vae.` and `text.`, and in its header the
configuration and the tokenizer as JSON. What is read here was written by `shotstream`, and what is
written here it reads.
"""

import html
import json
import os

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer

from dit import Dit
from umt5 import Umt5
from vae import Vae


class Words:
    """Prompts to ids and lengths, as the model's own tokenizer cuts them."""

    def __init__(self, text, length):
        self.text = text
        self.tokenizer, self.length = Tokenizer.from_str(text), length
        self.tokenizer.enable_truncation(length)
        self.tokenizer.enable_padding(length=length)

    def __call__(self, prompts, device):
        clean = lambda prompt: " ".join(html.unescape(html.unescape(prompt)).split())
        read = self.tokenizer.encode_batch([clean(prompt) for prompt in prompts])
        ids = torch.tensor([encoding.ids for encoding in read])
        lengths = torch.tensor([sum(encoding.attention_mask) for encoding in read])
        return ids.to(device), lengths.to(device)


class Model:
    """Everything a model file holds."""

    def __init__(self, path, device="cpu", compiled=False):
        with safe_open(path, "pt") as file:
            header = file.metadata()
            assert header.get("format") == "shotstream-bundle-1", f"no model file: {path}"
            weights = {name: file.get_tensor(name).float() for name in file.keys()}
        self.config = json.loads(header["config"])
        self.recipe = self.config["recipe"]
        for key, known in (("memory", "spread"), ("context_captions", "own"), ("shot_label", "numbered"), ("sink_latent_frames", 0)):
            found = self.recipe.get(key, known)
            assert found == known, f"recipe.{key} is {found}, the twin knows {known} only: {path}"
        self.words = Words(header["tokenizer"], self.config["dit"]["text_len"])
        self.dit = Dit(self.config["dit"])
        self.vae, self.text = Vae(self.config["vae"]), Umt5(self.config["text"])
        for part in ("dit", "vae", "text"):
            own = {n.removeprefix(f"{part}."): w for n, w in weights.items() if n.startswith(f"{part}.")}
            getattr(self, part).load_state_dict(own, strict=True)
            getattr(self, part).to(device)
        for block in self.dit.blocks if compiled else ():
            block.compile(dynamic=False)

    def save(self, path):
        """Write the file under another name first, so that `path` is whole or as it was."""
        weights = {}
        for part in ("dit", "vae", "text"):
            for name, tensor in getattr(self, part).state_dict().items():
                assert tensor.isfinite().all(), f"{part}.{name} holds a value that is not finite"
                weights[f"{part}.{name}"] = tensor.float().cpu().contiguous()
        header = {"format": "shotstream-bundle-1", "config": json.dumps(self.config), "tokenizer": self.words.text}
        save_file(weights, f"{path}.tmp", metadata=header)
        os.replace(f"{path}.tmp", path)
