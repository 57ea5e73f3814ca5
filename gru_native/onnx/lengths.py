"""What layers that go by lengths are in standard operators: functions that go into a file beside its graph.

Each takes x (T, B, F) and the lengths (B) of its rows, of int32. Pooling gives (B, F), zeros for a row without a step;
`LiveSteps` gives x with zeros behind the steps of each row.
"""

from __future__ import annotations

from onnx import FunctionProto, parser

#: The domain of the functions.
DOMAIN = "gru_native"

# The number of each step, (T, 1), and whether it is there, (T, B, 1).
_LIVE = """
    begin = Constant <value = int32 {0}> ()
    one = Constant <value = int32 {1}> ()
    rows_first = Constant <value = int64[1] {0}> ()
    columns = Constant <value = int64[1] {1}> ()
    behind = Constant <value = int64[1] {2}> ()
    shape = Shape <start = 0, end = 1> (x)
    count = Squeeze (shape, rows_first)
    end = Cast <to = 6> (count)
    numbers = Range (begin, end, one)
    steps = Unsqueeze (numbers, columns)
    there = Less (steps, lengths)
    live = Unsqueeze (there, behind)
    zero = CastLike (begin, x)
"""

_BODIES = {
    "LiveSteps": ("x, lengths", "y = Where (live, x, zero)"),
    "LastPooling": (
        "x, lengths",
        """
    last_steps = Sub (lengths, one)
    is_last = Equal (steps, last_steps)
    last = Unsqueeze (is_last, behind)
    kept = Where (last, x, zero)
    y = ReduceSum <keepdims = 0> (kept, rows_first)
""",
    ),
    # The reverse direction ends at step 0.
    "BidirectionalLastPooling": (
        "x, lengths",
        """
    forward, reverse = Split <axis = 2, num_outputs = 2> (x)
    last_steps = Sub (lengths, one)
    is_last = Equal (steps, last_steps)
    last = Unsqueeze (is_last, behind)
    is_first = Equal (steps, begin)
    is_live_first = And (is_first, there)
    first = Unsqueeze (is_live_first, behind)
    forward_kept = Where (last, forward, zero)
    reverse_kept = Where (first, reverse, zero)
    kept = Concat <axis = 2> (forward_kept, reverse_kept)
    y = ReduceSum <keepdims = 0> (kept, rows_first)
""",
    ),
    "MeanPooling": (
        "x, lengths",
        """
    kept = Where (live, x, zero)
    sum = ReduceSum <keepdims = 0> (kept, rows_first)
    at_least_one = Max (lengths, one)
    divisors = Unsqueeze (at_least_one, columns)
    of_type = CastLike (divisors, x)
    y = Div (sum, of_type)
""",
    ),
    # A score below all others stands for the steps that are not there.
    "AttentionPooling": (
        "x, lengths, weight, bias, query",
        """
    turned = Transpose <perm = [1, 0]> (weight)
    product = MatMul (x, turned)
    sums = Add (product, bias)
    hidden = Tanh (sums)
    scores = MatMul (hidden, query)
    lowest = Constant <value = float {-1e30}> ()
    none = CastLike (lowest, x)
    live_scores = Where (there, scores, none)
    shares = Softmax <axis = 0> (live_scores)
    live_shares = Where (there, shares, zero)
    weights = Unsqueeze (live_shares, behind)
    live_x = Where (live, x, zero)
    weighted = Mul (weights, live_x)
    y = ReduceSum <keepdims = 0> (weighted, rows_first)
""",
    ),
}


def function(name: str, opset: int) -> FunctionProto:
    """Return one of the functions."""
    inputs, body = _BODIES[name]
    head = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]> {name} ({inputs}) => (y)'
    return parser.parse_function(f"{head} {{{_LIVE}{body}}}")
