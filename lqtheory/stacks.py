"""A module as the stack of linear layers that it is, or the layer that keeps it from being one."""

from pathlib import Path

import torch
from torch import nn

from .evaluate import LinearStack, outputs, read_stack
from .models import load_model

PASSED = (nn.Flatten, nn.Dropout, nn.Identity)  # nothing happens to rows of numbers in evaluation mode


def load_stack(checkpoint: Path, spec: str | None = None) -> LinearStack:
    """The stack in a checkpoint, or that of the model `spec` with the checkpoint's weights.

    ValueError names the first layer that has no place in a stack, or what of the checkpoint does not fit the model.
    """
    if spec is None:
        return read_stack(checkpoint)
    try:
        return stack_of(load_model(spec, checkpoint))
    except RuntimeError as error:  # torch's word for tensors of other shapes
        fault = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"a checkpoint must fit the model {spec!r}, got {checkpoint}: {fault}") from error


def stack_of(model: nn.Module) -> LinearStack:
    """The linear layers of a module with ReLU between them, which is checked by running both on random inputs."""
    names, weights, biases, pending = [], [], [], False
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            if pending:
                raise ValueError(f"linear layers must have ReLU between them, got none before {name!r}.")
            names.append(f"{name}.weight")
            weights.append(layer.weight.detach().double().cpu().numpy())
            bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
            biases.append(bias.detach().double().cpu().numpy())
            pending = True
        elif isinstance(layer, nn.ReLU):
            pending = False
        elif not isinstance(layer, PASSED) and not any(True for _ in layer.children()):
            raise ValueError(
                f"tiers A to F and H here are for stacks of linear layers with ReLU, got {type(layer).__name__} "
                f"{name!r}; `lqtheory certify` gives tier G for any network."
            )
    if not names:
        raise ValueError(f"a stack must have linear layers, got none in {type(model).__name__}.")
    stack = LinearStack(tuple(names), tuple(weights), tuple(biases))
    x = torch.rand(4, weights[0].shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        answers = model.double()(x)
    if not torch.allclose(answers, torch.from_numpy(outputs(stack, x.numpy())), rtol=1e-9, atol=1e-12):
        raise ValueError(f"a stack must apply its layers one after the other, {type(model).__name__} does not.")
    return stack
