"""The packaged Gemma-3-270M for the few tests that need the real thing; loaded once for all of them."""

from functools import cache
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tangentlens.language.gguf import packaged_gemma, packaged_gemma_installed

needs_gemma = pytest.mark.skipif(not packaged_gemma_installed(), reason="the extra 'gemma' is not installed")


@cache
def gemma() -> tuple[Any, Any]:
    """(model, tokenizer); the first call on a machine converts the GGUF, in about two minutes."""
    folder = packaged_gemma()
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
