"""What the cards of a language model show: windows with each token's share, tokens that a mode raises, labels."""

import torch

from tangentlens.analysis.findings import Arrays, Findings, merged
from tangentlens.language.analysis.alignment import mode_table
from tangentlens.language.analysis.config import ScoringConfig
from tangentlens.language.analysis.modes import mode_findings, residual_notes, scores
from tangentlens.language.analysis.residual_stream import residual_stream_pca
from tangentlens.language.analysis.subject import LanguageSubject
from tangentlens.language.analysis.task import Task
from tangentlens.language.analysis.tokens import occurring_tokens, token_texts
from tangentlens.language.sweep.result import Sweep
from tangentlens.language.text_analysis.case import TextCase
from tangentlens.store.figure_keys import BASELINE, stored_family


def card_findings(case: TextCase, found: Sweep) -> Findings:
    """Arrays of language/analysis/measure.py for one geometry and these windows; labels are the binary ones."""
    task = _task(case)
    subject = LanguageSubject(
        case.lm, case.windows.input_ids, task, tuple(found.modes), (found.geometry.name,), case.options.seed,
        case.windows.batch.get("attention_mask"),
    )  # fmt: skip
    scoring = ScoringConfig(examples=case.options.examples, tokens=case.options.tokens)
    principal = residual_stream_pca(case.lm, case.windows.batch, case.options.modes)
    modes = mode_findings(found.geometry.name, found, subject, scoring)
    arrays: Arrays = {
        **modes.arrays,
        "windows.input_ids": case.windows.input_ids,
        "windows.attention_mask": case.windows.attention_mask.to(torch.uint8),
        "windows.story": case.windows.text_index,
        "labels.matrix": task.labels.to(torch.uint8),
        "labels.train": task.train.to(torch.uint8)[:, None].expand(task.labels.shape),
        f"{BASELINE}.scores": principal.float(),
    }
    if task.names:
        arrays |= {
            f"{name}.{part}": table
            for name, ranked in ((found.geometry.name, scores(found)), (BASELINE, principal.float().permute(1, 0, 2)))
            for part, table in mode_table(ranked, task).items()
        }
    ids = occurring_tokens(arrays)
    arrays["tokens.ids"] = ids
    words = {
        "groups": subject.groups,
        "blocks": subject.blocks,
        "geometries": subject.geometries,
        "tokens.text": token_texts(case.lm.tokenizer, ids),
        "windows.word": tuple(after.split()[0] if after.split() else "" for after in case.windows.after),
        "labels.names": task.names,
        "labels.family": tuple(map(stored_family, task.families)),
    }
    notes = residual_notes({found.geometry.name: found})
    return merged((Findings(modes.figures, arrays), Findings(words=words, notes=notes)))


def _task(case: TextCase) -> Task:
    """The labels that are true or false of every window."""
    kept = [each for each in case.features.features if each.kind == "binary" and bool(each.present.all())]
    train = torch.zeros(case.count, dtype=torch.bool).index_fill_(0, case.halves.train, True)
    columns = [each.values[:, 0].bool() for each in kept]
    labels = torch.stack(columns, dim=1) if kept else torch.zeros(case.count, 0, dtype=torch.bool)
    families = tuple(each.family for each in kept)
    return Task(tuple(each.name for each in kept), families, labels, train, case.windows.text_index)
