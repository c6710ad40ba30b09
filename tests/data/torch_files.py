"""Makes the small files of PyTorch that tests/test_torch_file.py reads where PyTorch is not installed.

python tests/data/torch_files.py: written with PyTorch 2.13.0 and safetensors 0.8.0.
"""

import pathlib

import torch
from safetensors.torch import save_file

FLOATS = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
INTEGERS = ["int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]

whole = torch.arange(24).reshape(2, 3, 4)
state = {
    f"{name}": (whole % 2 if name == "bool" else whole / 2 if "float" in name else whole) for name in FLOATS + INTEGERS
}
state = {name: tensor.to(getattr(torch, name)) for name, tensor in state.items()}
folder = pathlib.Path(__file__).parent
save_file(state, folder / "torch.safetensors")
shared = state["float32"]
state |= {"transposed": shared.permute(2, 0, 1), "part": shared[1:, ::2, 1:4:2], "again": shared}
state["parameter"] = torch.nn.Parameter(state["float64"])
for name, zipped in (("zip.pt", True), ("pickles.pt", False)):
    torch.save({"net": state, "epoch": 3}, folder / name, _use_new_zipfile_serialization=zipped)
