"""Which values of a graph depend on the shapes of its inputs alone, not on what stands in them.

Two things are followed through the nodes: whether a value's shape is given by the inputs' shapes, and whether its
numbers are. Numbers are given by Shape and Size, and by exact arithmetic on given numbers; a shape is given where all
inputs' shapes are and the numbers that the operator reads as sizes."""

from collections.abc import Sequence

from ._graph import Graph, Node

# Operators whose output's shape comes from their inputs' shapes, and from the numbers of the inputs named here.
_READ_AS_SIZES: dict[str, tuple[int, ...]] = {
    "Reshape": (1,),
    "Expand": (1,),
    "Slice": (1, 2, 3, 4),
    "Tile": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Split": (1,),
    "Pad": (1, 3),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "TopK": (1,),
    "OneHot": (1,),
    "CenterCropPad": (1,),
    **{f"Reduce{kind}": (1,) for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "SumSquare")},
    "ReduceLogSumExp": (1,),
}
_BY_SHAPE = frozenset(
    """
    Add Sub Mul Div Pow Mod Max Min Sum Mean Abs Neg Sign Floor Ceil Round Sqrt Reciprocal Exp Log Sin Cos Erf Tan
    Clip Equal Greater Less GreaterOrEqual LessOrEqual And Or Xor Not Where Relu Sigmoid Tanh LeakyRelu Elu Celu
    Selu Gelu Swish Mish HardSigmoid HardSwish Softplus Softsign ThresholdedRelu PRelu Softmax LogSoftmax Hardmax
    Identity Shape Size Flatten Transpose Concat DepthToSpace SpaceToDepth Trilu Gather GatherElements GatherND
    ScatterElements Scatter ScatterND EyeLike ArgMax ArgMin CumSum Cast CastLike MatMul Gemm Linear Einsum Conv
    ConvTranspose MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool BatchNormalization
    InstanceNormalization GroupNormalization LayerNormalization RMSNormalization LRN LpNormalization
    MeanVarianceNormalization AddLayerNorm Dropout LSTM GRU RNN Recurrent Sdpa Attention RotaryEmbedding GridSample
    QuantizeLinear DequantizeLinear
    """.split()  # noqa: SIM905
)
# Operators that give the same numbers for the same numbers; on floats too: scales of attention are computed so.
_EXACT = frozenset(
    """
    Add Sub Mul Div Mod Max Min Abs Neg Sqrt Reciprocal Pow Floor Ceil Equal Greater Less GreaterOrEqual
    LessOrEqual And Or Not Where Identity Concat Gather Slice Squeeze Unsqueeze Reshape Cast Transpose Expand Tile
    Range ConstantOfShape ReduceProd ReduceSum ReduceMax ReduceMin Split Clip Trilu Flatten CumSum ScatterND
    """.split()  # noqa: SIM905
)


def shape_determined(graph: Graph, captured: Sequence[str] = ()) -> tuple[list[str], set[str]]:
    """The names whose values depend on the inputs' shapes alone (constants aside), and those whose shapes do.

    Nothing in a subgraph, which runs with what is around it.
    """
    if captured:
        return [], set()
    shapes = set(graph.inputs) | set(graph.constants)
    fixed = {n for n, data in graph.constants.items() if n not in graph.weights or data.dtype.kind in "iub"}
    found = []
    for node in graph.nodes:
        outputs = [name for name in node.outputs if name]
        if _numbers_given(node, shapes, fixed):
            fixed.update(outputs)
            found += outputs
        if _shape_given(node, shapes, fixed):
            shapes.update(outputs)
    return found, shapes


def _numbers_given(node: Node, shapes: set[str], fixed: set[str]) -> bool:
    if node.domain:
        return False
    if node.op in ("Shape", "Size"):
        return node.inputs[0] in shapes
    return node.op in _EXACT and all(name in fixed for name in node.inputs if name)


def _shape_given(node: Node, shapes: set[str], fixed: set[str]) -> bool:
    if node.domain not in ("", "fastnn") or any(name not in shapes for name in node.inputs if name):
        return False
    if node.op in _READ_AS_SIZES:
        return all(node.inputs[i] in fixed for i in _READ_AS_SIZES[node.op] if i < len(node.inputs) and node.inputs[i])
    return node.op in _BY_SHAPE
