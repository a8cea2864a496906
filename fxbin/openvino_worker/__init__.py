"""The program that runs OpenVINO in a separate process, see `fxbin.openvino.process`.

A folder contains the job:

    job.json, inputs.npz  ->  result.json, outputs.npz

Each job announces its steps, and each step may take `time_limit` seconds.

Nothing here imports PyTorch, which takes several times as long to load as OpenVINO. So this package stands
beside `fxbin.openvino`, whose own imports need PyTorch.
"""
