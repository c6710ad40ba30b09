"""All cases, by group. A new case is one entry in a module here."""

from bench.case import Case
from bench.cases import (
    attention,
    bert,
    cnn,
    conv,
    conv1d,
    ctc,
    elementwise,
    gan,
    gan_sampling,
    generation,
    imported,
    layers,
    matmul,
    mobilenet,
    optimizer,
    overhead,
    pretrained,
    recurrent,
    recurrent_train,
    resnet,
    rows,
    train,
    transformer,
)

MODULES = (
    matmul,
    elementwise,
    rows,
    ctc,
    conv,
    conv1d,
    optimizer,
    overhead,
    train,
    cnn,
    gan,
    gan_sampling,
    resnet,
    mobilenet,
    recurrent,
    recurrent_train,
    attention,
    layers,
    transformer,
    bert,
    generation,
    imported,
    pretrained,
)
CASES: list[Case] = [case for module in MODULES for case in module.CASES]
GROUPS: list[str] = list(dict.fromkeys(case.group for case in CASES))


def find(identity: str) -> Case:
    """The case with this id."""
    for case in CASES:
        if case.id == identity:
            return case
    raise KeyError(identity)
