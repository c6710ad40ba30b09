"""Makes dcgan.npz anew: what the generator of gan-face-generate 1.1.1 draws, computed by PyTorch.

    pip install --no-deps gan-face-generate==1.1.1 && pip install torch && python dcgan.py

The noise is drawn by NumPy from a seed; of each picture every fourth pixel both ways is kept, starting with the second.
"""

from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from gan_face_generate.models import Generator

SEED, COUNT = 0, 4


def main() -> None:
    file = metadata.distribution("gan-face-generate").locate_file("gan_face_generate/weights.tar")
    net = Generator(1, 3, 100, 64)
    net.load_state_dict(torch.load(str(file), weights_only=True, map_location="cpu")["netG_state_dict"])
    net.eval()
    z = np.random.default_rng(SEED).standard_normal((COUNT, 100)).astype(np.float32)
    with torch.no_grad():
        made = net(torch.tensor(z)[:, :, None, None]).numpy()
    kept = np.ascontiguousarray(made[:, :, 1::4, 1::4])
    np.savez_compressed(Path(__file__).with_suffix(".npz"), pictures=kept, mean=made.mean((1, 2, 3)))


if __name__ == "__main__":
    main()
