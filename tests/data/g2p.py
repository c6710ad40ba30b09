"""Makes g2p.npz anew: what the NumPy code of g2p-en says of a list of words.

    pip install --no-deps g2p-en==2.1.0
    python tests/data/g2p.py
"""

from pathlib import Path

import numpy as np

from fastnn.demos._g2p import Original
from fastnn.demos.phonemes import WORDS
from fastnn.models.pronouncer import BEGIN


def main():
    original = Original()
    states = np.concatenate([original.encode(word) for word in WORDS])
    scores = np.concatenate([original.scores(state[None], BEGIN) for state in states])
    said = [" ".join(phonemes) for phonemes in original.pronounce(WORDS)]
    file = Path(__file__).with_name("g2p.npz")
    np.savez_compressed(file, words=np.array(WORDS), said=np.array(said), states=states, scores=scores)
    print(f"{file}: {len(WORDS)} words")


if __name__ == "__main__":
    main()
