"""Embedding: a vector for each of a number of things."""

import numpy as np

from .. import init
from .._checks import integer
from .._ops import Tensor, as_tensor
from .._ops_embedding import embedding
from .._tape import no_grad
from ._module import Module
from ._parameter import Parameter, fresh


def _row(function: str, padding_idx: int | None, rows: int) -> int | None:
    """Return the row that `padding_idx` names, counted from the start."""
    if padding_idx is None:
        return None
    padding_idx = integer(function, "padding_idx", padding_idx, None)
    if not -rows <= padding_idx < rows:
        raise ValueError(f"{function}: padding_idx is {padding_idx}; expected one of {rows} rows")
    return padding_idx % rows


class Embedding(Module):
    """A table of vectors, one for each of `num_embeddings` things, read by their numbers.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows and columns of the table.
    padding_idx : int, optional
        A row that begins as zeros and gets no gradient; negative counts from the end.
    max_norm, norm_type : float
        When called, rows that are read and longer than `max_norm` are scaled down to it, in the table itself; lengths
        are norms of order `norm_type`.
    scale_grad_by_freq, sparse : bool
        PyTorch's; the first has to be False, the second changes nothing: a gradient is an array as large as the table.
    dtype : data type, optional

    Attributes
    ----------
    weight : Parameter, shape (num_embeddings, embedding_dim)
        Drawn from N(0, 1).

    Notes
    -----
    input: integers (...); output: (..., embedding_dim).

    Raises
    ------
    ValueError, TypeError
        If sizes are no integers or negative, `padding_idx` is no row, or a norm is not above 0; when called, if numbers
        are no integers, or a row is too long and frozen.
    IndexError
        When called, if a number is no row.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.Embedding(10, 4, padding_idx=0)(fnn.tensor([[1, 2, 0]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        dtype=None,
    ) -> None:
        if scale_grad_by_freq:
            raise ValueError("Embedding: scale_grad_by_freq is not there; gradients are those of what was read")
        self.num_embeddings = integer("Embedding", "num_embeddings", num_embeddings, 0)
        self.embedding_dim = integer("Embedding", "embedding_dim", embedding_dim, 0)
        self.padding_idx = _row("Embedding", padding_idx, num_embeddings)
        if not (max_norm is None or max_norm > 0) or not norm_type > 0:
            raise ValueError(f"Embedding: max_norm is {max_norm}, norm_type {norm_type}; expected numbers above 0")
        self.max_norm, self.norm_type = max_norm, float(norm_type)
        self.weight = fresh((num_embeddings, embedding_dim), dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
    ) -> "Embedding":
        """Return a layer whose table is `embeddings` (V, D); with `freeze` it is not trained.

        Raises
        ------
        ValueError
            If `embeddings` is not (V, D), or `padding_idx` no row of it.
        TypeError
            If `embeddings` is not of floats, or `padding_idx` no integer.
        """
        table = as_tensor(embeddings)
        if table.ndim != 2:
            raise ValueError(f"Embedding.from_pretrained: embeddings are {table.shape}; expected (rows, columns)")
        if table.dtype.kind != "f":
            raise TypeError(f"Embedding.from_pretrained: embeddings are of {table.dtype}; expected floats")
        layer = cls(0, table.shape[1], None, max_norm, norm_type)
        layer.num_embeddings = table.shape[0]
        layer.padding_idx = _row("Embedding.from_pretrained", padding_idx, table.shape[0])
        layer.weight = Parameter(table.detach(), requires_grad=not freeze)
        return layer

    def _shorten(self, input) -> None:
        """Scale the rows that `input` names down to `max_norm`."""
        with no_grad():
            rows = np.unique(as_tensor(input).data)
            read = embedding(rows, self.weight).data
            length = np.linalg.norm(read, self.norm_type, axis=1)
            long = length > self.max_norm
            if long.any():
                if not self.weight.data.flags.writeable:
                    raise ValueError(
                        f"Embedding: a frozen row is {length.max():.6g} long, max_norm {self.max_norm}; read all rows "
                        f"before freezing"
                    )
                self.weight[rows[long]] = read[long] * (self.max_norm / (length[long, None] + 1e-7)).astype(read.dtype)

    def forward(self, input):
        """input: integers (...) -> (..., embedding_dim)."""
        if self.max_norm is not None:
            self._shorten(input)
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        norm = "" if self.max_norm is None else f", max_norm={self.max_norm}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}{norm}"
