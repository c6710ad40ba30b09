"""Stacks of transformer layers, and the whole transformer; `step` takes the input one piece at a time."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _ops, _ops_attention, init
from .._checks import integer
from .._tape import no_grad
from . import _module
from ._container import ModuleList
from ._key_values import Undone, begun, listed
from ._module import Module, plain
from ._row_norm import LayerNorm
from ._transformer_layer import TransformerDecoderLayer, TransformerEncoderLayer


class _Stack(Module):
    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.num_layers = integer(type(self).__name__, "num_layers", num_layers)
        if norm is not None and not isinstance(norm, Module):
            raise TypeError(f"{type(self).__name__}: norm must be a Module or None, got {type(norm).__name__}")
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.norm = norm

    def _finish(self, x):
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """`num_layers` copies of an encoder layer, one after the other, and a norm behind them if given.

    Parameters
    ----------
    encoder_layer : Module
        Copied, parameters and all.
    num_layers : int
    norm : Module, optional
    enable_nested_tensor, mask_check : bool
        PyTorch's ways to save work on padding; nothing depends on them here.

    Examples
    --------
    >>> import fastnn as fnn
    >>> encoder = fnn.nn.TransformerEncoder(fnn.nn.TransformerEncoderLayer(8, 2, 16), 3)
    >>> encoder(fnn.zeros(5, 2, 8)).shape
    (5, 2, 8)
    """

    _plan: tuple[int, list[Module], list[tuple | None], tuple | None] | None = None

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__(encoder_layer, num_layers, norm)

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal: bool = False):
        """(B, T, E) -> (B, T, E)."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=is_causal)
        return self._finish(src)

    def step(self, src, state=None):
        """The next positions, each of which sees what was before it -> the result and the next state.

        The state given goes on and is the next one: copy it first (`copy.deepcopy`) to go on from it twice. Forward
        hooks of layers and of their attention watch `forward`, not steps.
        """
        with Undone(state), no_grad():
            plan = self._plan
            _, layers, parts, norm = plan if plan and plan[0] == _module.changes else self._make_plan()
            states = listed("TransformerEncoder.step", state, len(layers), "one a layer")
            kept = [begun("TransformerEncoder.step", s) if part else s for s, part in zip(states, parts, strict=True)]
            src, done = _ops_attention.encoder_steps(_ops.as_tensor(src), parts, kept, norm)
            states[:done] = kept[:done]
            if done > len(layers):
                return src, states
            for i in range(done, len(layers)):
                src, states[i] = layers[i].step(src, states[i])
            return self._finish(src), states

    def _make_plan(self) -> tuple[int, list[Module], list[tuple | None], tuple | None]:
        """The layers, and of each and the norm what a step in one call takes, as long as no module changes."""
        changes, layers = _module.changes, list(self.layers)
        parts = [layer._parts_at_once() if type(layer) is TransformerEncoderLayer else None for layer in layers]
        norm, taken = self.norm, None
        if isinstance(norm, LayerNorm) and plain((norm,), (LayerNorm,)) and norm.weight is not None:
            taken = norm.weight, norm.bias, norm.eps
        plan = changes, layers, parts, taken
        object.__setattr__(self, "_plan", plan)
        return plan

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: no plan, which is of this process and these layers."""
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}


def _decoded(decoder, tgt, memory, mask, memory_mask, padding, memory_padding, is_causal, memory_is_causal):
    """Call a decoder, or a layer of one, by name, as PyTorch does: somebody's own may have another order."""
    return decoder(
        tgt,
        memory,
        tgt_mask=mask,
        memory_mask=memory_mask,
        tgt_key_padding_mask=padding,
        memory_key_padding_mask=memory_padding,
        tgt_is_causal=is_causal,
        memory_is_causal=memory_is_causal,
    )


class TransformerDecoder(_Stack):
    """`num_layers` copies of a decoder layer, one after the other, and a norm behind them if given.

    Parameters
    ----------
    decoder_layer : Module
        Copied, parameters and all.
    num_layers : int
    norm : Module, optional

    Examples
    --------
    >>> import fastnn as fnn
    >>> decoder = fnn.nn.TransformerDecoder(fnn.nn.TransformerDecoderLayer(8, 2, 16), 3)
    >>> decoder(fnn.zeros(5, 2, 8), fnn.zeros(7, 2, 8)).shape
    (5, 2, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ):
        """Target (B, T, E), memory (B, S, E) -> (B, T, E)."""
        for layer in self.layers:
            tgt = _decoded(
                layer, tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
                memory_is_causal,
            )  # fmt: skip
        return self._finish(tgt)

    def step(self, tgt, memory, state=None, memory_key_padding_mask=None):
        """The next positions -> the result and the next state; the one given goes on, as in an encoder's step."""
        with Undone(state), no_grad():
            states = listed("TransformerDecoder.step", state, len(self.layers), "one a layer")
            for i, layer in enumerate(self.layers):
                tgt, states[i] = layer.step(tgt, memory, states[i], memory_key_padding_mask)
            return self._finish(tgt), states


class Transformer(Module):
    """An encoder and a decoder that attends to what the encoder made of the source [1]_.

    Parameters
    ----------
    d_model, nhead, num_encoder_layers, num_decoder_layers, dim_feedforward, dropout, activation
        As in `TransformerEncoderLayer`, and how many layers.
    custom_encoder, custom_decoder : Module, optional
        Instead of those.
    layer_norm_eps, batch_first, norm_first, bias, dtype
        As in `TransformerEncoderLayer`.

    Attributes
    ----------
    encoder : TransformerEncoder
    decoder : TransformerDecoder
        Both end in a LayerNorm, and their matrices are drawn by Xavier's rule, as in PyTorch.

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    >>> net(fnn.zeros(3, 7, 8), fnn.zeros(3, 5, 8), tgt_is_causal=True).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype=np.float32,
    ) -> None:
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)

        def norm():
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        if custom_encoder is None:
            custom_encoder = TransformerEncoder(
                TransformerEncoderLayer(*options, dtype=dtype), num_encoder_layers, norm()
            )
        if custom_decoder is None:
            custom_decoder = TransformerDecoder(
                TransformerDecoderLayer(*options, dtype=dtype), num_decoder_layers, norm()
            )
        self.encoder, self.decoder = custom_encoder, custom_decoder
        self.d_model, self.nhead, self.batch_first = d_model, nhead, bool(batch_first)
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src,
        tgt,
        src_mask=None,
        tgt_mask=None,
        memory_mask=None,
        src_key_padding_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ):
        """Source (B, S, E), target (B, T, E) -> (B, T, E)."""
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return _decoded(
            self.decoder, tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal, memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device=None, dtype=None):
        """(sz, sz): 0 on and below the diagonal, -inf above. `tgt_is_causal=True` does the same for less.

        Raises
        ------
        TypeError, ValueError
            If `sz` is no integer, or negative, or `device` another one than "cpu".

        Examples
        --------
        >>> import fastnn as fnn
        >>> fnn.nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        sz = integer("generate_square_subsequent_mask", "sz", sz, 0)
        if device not in (None, "cpu"):
            raise ValueError(f"generate_square_subsequent_mask: device is {device!r}; there is 'cpu' only")
        return _ops.full((sz, sz), -np.inf, dtype=dtype).triu(1)
