"""The operators, one family a file; importing this fills the table of `_registry`."""

from . import (  # noqa: F401
    activation,
    arithmetic,
    cast,
    compare,
    control,
    conv,
    index,
    loss,
    matmul,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    shape,
)
