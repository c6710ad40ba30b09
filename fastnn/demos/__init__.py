"""The demos, each a module that trains a described network on real data: `fastnn demo NAME`.

A demo is a module whose first line says what it does, with `add_arguments(parser)` and `run(arguments)`, listed here.
"""

DEMOS = {
    "augment": "a class-conditional GAN makes extra examples of few people's faces; what they are worth, measured",
    "colorize": "a U-Net and a patch discriminator learn to colour photographs, and colour yours",
    "digits": "a convolutional network reads handwritten digits, with a confusion table and simpler methods beside it",
    "faces": "a convolutional network learns what a face is, finds faces in a photograph, and shows what it looks at",
    "filters": "nine numbers slid over a photograph: convolution step by step, edges, blur, sharpening, relief",
    "gan-faces": "two networks against each other invent faces, from 400 real ones, beside the nearest of those",
    "house-prices": "a dense network learns what houses cost from 2,930 real sales, and answers your questions",
    "long-range": "a transformer and an LSTM on a question about a word far back: what they remember, what it costs",
    "neuron": "one neuron step by step: weighted sum, the activation you name, gradients; what it can learn",
    "phonemes": "a GRU reads English words and another pronounces them, with weights trained elsewhere",
    "similar": "a six-layer BERT trained elsewhere ranks sentences by what they mean",
    "speech": "a recurrent network writes down spoken Spanish, and a second one turns the text into an action",
    "translate": "a transformer learns Spanish to English, and shows where each word looked",
    "word-order": "a recurrent network tells sentences from their shuffled words, where counting words cannot",
}
