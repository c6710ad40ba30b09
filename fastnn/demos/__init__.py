"""The demos, each a module that trains a described network on real data: `fastnn demo NAME`.

A demo is a module whose first line says what it does, with `add_arguments(parser)` and `run(arguments)`, listed here.
"""

DEMOS = {
    "house-prices": "a dense network learns what houses cost from 2,930 real sales, and answers your questions",
    "neuron": "one neuron step by step: weighted sum, the activation you name, gradients; what it can learn",
}
