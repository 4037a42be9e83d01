"""Tiny CLIP and SigLIP checkpoints with random weights, and contents to encode."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from flywheel.encoders import Content

TEXT_LENGTH = 16
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**TOWER, "image_size": 32, "patch_size": 8}


def save_clip(folder: Path, seed: int = 0) -> Path:
    """Save a CLIP checkpoint with a character-level tokenizer; vectors have 24 components."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: number for number, name in enumerate(names)}, merges=[])
    text = {**TOWER, "vocab_size": len(names), "max_position_embeddings": TEXT_LENGTH}
    ends = {"bos_token_id": len(names) - 2, "eos_token_id": len(names) - 1, "pad_token_id": len(names) - 1}
    config = CLIPConfig(text_config={**text, **ends}, vision_config=VISION, projection_dim=24)
    torch.manual_seed(seed)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_siglip(folder: Path, seed: int = 0) -> Path:
    """Save a SigLIP checkpoint with a word-level tokenizer; vectors have 32 components."""
    words = ["<pad>", "</s>", "<unk>", "a", "red", "green", "blue", "picture", "flower", "house"]
    model = models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    inner = Tokenizer(model)
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=TEXT_LENGTH
    )
    text = {**TOWER, "vocab_size": len(words), "max_position_embeddings": TEXT_LENGTH, "projection_size": 32}
    torch.manual_seed(seed)
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def png(pixels: np.ndarray) -> bytes:
    """The pixels as PNG bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def noisy_images(count: int, seed: int = 0) -> list[Content]:
    """Images of different shapes and colors, with ids image-0, image-1 …"""
    generator = np.random.default_rng(seed)
    contents: list[Content] = []
    for number in range(count):
        height, width = generator.integers(20, 60, 2)
        color = generator.integers(0, 200, 3)
        pixels = (color + generator.integers(0, 56, (height, width, 3))).astype(np.uint8)
        contents.append(Content(f"image-{number}", "image", png(pixels)))
    return contents


def random_texts(count: int, seed: int = 0) -> list[Content]:
    """Texts of 1 to 60 words, with ids text-0, text-1 …"""
    generator = np.random.default_rng(seed)
    words = ["the", "red", "flower", "stands", "by", "a", "house", "quickly", "economics", "unbelievable"]
    return [
        Content(f"text-{number}", "text", " ".join(generator.choice(words, generator.integers(1, 61))).encode())
        for number in range(count)
    ]
