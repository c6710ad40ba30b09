"""Makes mtcnn.npz anew: what facenet-pytorch itself says of the astronaut and of noise.

    pip install torch scikit-image==0.26.0 && pip install --no-deps facenet-pytorch==2.6.0
    python tests/data/mtcnn.py

torchvision, which the package imports, is not needed: the one function of it that runs is written out here.
"""

import importlib.metadata
import sys
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def batched_nms(boxes, scores, images, threshold):
    """torchvision.ops.boxes.batched_nms, for one image."""
    order = scores.sort(descending=True, stable=True).indices.tolist()
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    dropped, kept = torch.zeros(len(boxes), dtype=torch.bool), []
    for i in order:
        if not dropped[i]:
            kept.append(i)
            size = torch.minimum(boxes[i, 2:], boxes[:, 2:4]) - torch.maximum(boxes[i, :2], boxes[:, :2])
            common = size.clamp(min=0).prod(1)
            dropped |= common / (area[i] + area - common) > threshold
    return torch.tensor(kept, dtype=torch.int64)


def stub(name, **attributes):
    """Put a module that holds nothing else in the place of one."""
    module = types.ModuleType(name)
    module.__dict__.update(attributes)
    sys.modules[name] = module
    return module


def package():
    """Import the models without the package's __init__, which wants more."""
    stub("torchvision")
    stub("torchvision.transforms", functional=stub("torchvision.transforms.functional"))
    stub("torchvision.ops")
    stub("torchvision.ops.boxes", batched_nms=batched_nms)
    folder = importlib.metadata.distribution("facenet-pytorch").locate_file("facenet_pytorch")
    stub("facenet_pytorch", __path__=[str(folder)])
    stub("facenet_pytorch.models", __path__=[f"{folder}/models"])
    from facenet_pytorch.models import mtcnn
    from facenet_pytorch.models.utils import detect_face

    return mtcnn, detect_face.detect_face


def main():
    mtcnn, detect_face = package()
    file = importlib.metadata.distribution("scikit-image").locate_file("skimage/data/astronaut.png")
    astronaut = np.asarray(Image.open(str(file)).convert("RGB"))
    nets = mtcnn.PNet(), mtcnn.RNet(), mtcnn.ONet()
    numbers = {}
    with torch.no_grad():
        boxes, points = detect_face(astronaut, 20, *nets, [0.6, 0.7, 0.7], 0.709, "cpu")
        numbers["boxes"], numbers["points"] = np.float32(boxes[0]), np.float32(points[0])
        rng = np.random.default_rng(0)
        for name, net, shape in zip("pro", nets, [(1, 3, 31, 40), (3, 3, 24, 24), (3, 3, 48, 48)]):
            x = rng.uniform(-1, 1, shape).astype(np.float32)
            for i, output in enumerate(net(torch.tensor(x))):
                numbers[f"{name}{i}"] = output.numpy()
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **numbers)
    print({name: array.shape for name, array in numbers.items()})


if __name__ == "__main__":
    main()
