"""A hash of all that an analysis must leave as it found it."""

import hashlib

import torch
from torch import nn


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of parameters and buffers, their flags, training modes, and the number of hooks."""
    digest = hashlib.sha256()
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} {value.requires_grad} {value.grad is None}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for name, module in model.named_modules():
        digest.update(
            f"{name} {module.training} {len(module._forward_hooks)} {len(module._forward_pre_hooks)}".encode()
        )
    return digest.hexdigest()
